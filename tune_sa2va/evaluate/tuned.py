"""`tune_sa2va.json`: what goes with an exported adapter or merged checkpoint; export writes it, its users read it."""

import json
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError

from tune_sa2va.config import DataSettings, Frozen, Precision, TrialConfig
from tune_sa2va.errors import CheckpointError
from tune_sa2va.evaluate.bootstrap import Interval

TUNED_FILE = "tune_sa2va.json"
FORMAT = 3
"""Goes up when a field is added, renamed or taken out."""
_READABLE = (1, 2, 3)
"""1 had no `num_groups`, `test_openings` and `test_verdict`; neither 1 nor 2 had folds and `final`."""

FinalName = Literal["best-run", "average", "ensemble", "refit"]
"""What is exported of a trial. best-run: the adapter that it trained; with folds, that of the fold where it is best.
average: the mean of the folds' adapters, as one of so many times the rank. ensemble: all of them, each in a folder,
whose probabilities are averaged. refit: one trained again on every image outside the test part."""

MEASURES = ("dice", "iou", "recall", "precision")


class MeanScore(Frozen):
    """A mean over images, with its 95% bootstrap interval over groups (None: fewer than two)."""

    mean: float
    low: float | None
    high: float | None

    @classmethod
    def of(cls, interval: Interval) -> "MeanScore":
        """The same without what JSON cannot say."""
        ends = (None if value != value else value for value in (interval.low, interval.high))
        return cls(mean=interval.mean, low=next(ends), high=next(ends))


class PartScores(Frozen):
    """Scores of one part of the data at one threshold, each image counted once."""

    num_images: int
    num_groups: int | None = None
    """Patients or videos that the images are of: the unit of the intervals."""
    threshold: float
    dice: MeanScore
    iou: MeanScore
    recall: MeanScore
    precision: MeanScore


class Metrics(Frozen):
    """val_default: the validation part at 0.5; val_chosen: at the chosen threshold; test, test_chosen: the same of the
    locked part. With folds the validation part is every image outside the test part, each scored by the adapter that
    never saw it."""

    val_default: PartScores
    val_chosen: PartScores
    test: PartScores | None = None
    test_chosen: PartScores | None = None
    test_openings: int = Field(default=0, ge=0)
    """How often models of the search were scored on the locked part: once, unless winners changed."""
    test_verdict: str = ""
    """Of the search's winner: what it is there beside the recipe and the untuned base, in words."""


class BaseModelName(Frozen):
    """A base model: what its folder or preset is called, and the hash of its files (`model_hash`)."""

    id: str
    sha256: str


class Verification(Frozen):
    """The export, loaded by a fresh process, against what the search recorded: Dice of the validation part at 0.5."""

    recorded_val_dice: float
    val_dice: float
    difference: float
    tolerance: float
    precision: Precision
    device: str


class SplitRule(Frozen):
    """How the data was cut; which image came into which part is in `content.parquet` beside."""

    ratios: tuple[float, float, float]
    seed: int
    folds: int = 1
    """Of the images outside the test part; 1 where they are cut into train and val."""


class Tuned(Frozen):
    """Everything about an adapter that its tensors do not say."""

    format: int = FORMAT
    trial: str
    epoch: int
    merged: bool = False
    """The folder is a whole checkpoint, with the adapter inside its weights."""
    final: FinalName = "best-run"
    fold: int | None = None
    """With `best-run` of a trial with folds: the fold that the adapter was not trained on."""
    base_model: BaseModelName
    data_fingerprint: str
    split: SplitRule
    question: str = DataSettings.model_fields["question"].default
    """With {text} for what is asked for."""
    answer: str = DataSettings.model_fields["answer"].default
    threshold: float = Field(gt=0.0, lt=1.0)
    """On the sigmoid of the mask logits; chosen on the validation part."""
    metrics: Metrics
    verification: Verification
    config: TrialConfig
    choice: str = ""
    """Of what a search exported at its end: why this and not the recipe, or why the recipe, in words."""

    def members(self, folder: Path) -> tuple[Path, ...]:
        """The folders of the adapters in `folder`, which this describes.

        Raises:
            CheckpointError: one of an ensemble is missing.
        """
        if self.final != "ensemble":
            return (folder,)
        members = tuple(ensemble_folder(folder, fold) for fold in range(self.split.folds))
        if missing := [member.name for member in members if not (member / "adapter_model.safetensors").is_file()]:
            raise CheckpointError(
                f"{folder}: is an ensemble of {len(members)} adapters, but {missing[0]} is not there or not whole. "
                "Copy the whole folder again."
            )
        return members

    def to_json(self) -> str:
        """The file's text."""
        return json.dumps(self.model_dump(mode="json"), indent=1) + "\n"


def ensemble_folder(folder: Path, fold: int) -> Path:
    """Where an ensemble in `folder` has one of its adapters."""
    return folder / f"fold_{fold}"


def read_tuned(folder: Path) -> Tuned | None:
    """What `folder` says of itself; None for an adapter that another program made.

    Raises:
        CheckpointError: the file is damaged, or of another version.
    """
    path = folder / TUNED_FILE
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(values, dict) and values.get("format", FORMAT) not in _READABLE:
            raise CheckpointError(
                f"{path}: must have format {FORMAT}, got format {values['format']}: another tune_sa2va wrote it. "
                "Use that one, or export the trial again."
            )
        return Tuned.model_validate(values)
    except FileNotFoundError:
        return None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise CheckpointError(f"{path}: {where}: {first['msg']}. Export the trial again.") from error
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: cannot be read ({error}). Copy it again, or export the trial again.") from error
