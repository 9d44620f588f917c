"""`tune_sa2va.json`, the record beside an exported adapter or merged checkpoint. `export` writes it, others read it."""

import json
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError

from tune_sa2va.config import DataSettings, Frozen, PlainPrecision, Precision, TrialConfig
from tune_sa2va.errors import CheckpointError
from tune_sa2va.evaluate.bootstrap import Interval

TUNED_FILE = "tune_sa2va.json"
FORMAT = 3
"""Incremented when a field is added, renamed or removed."""
_READABLE = (1, 2, 3)
"""Format 1 had no `num_groups`, `test_openings` and `test_verdict`; formats 1 and 2 had no folds and no `final`."""

FinalName = Literal["best-run", "average", "ensemble", "refit"]
"""What is exported of a trial.

best-run: the adapter that it trained; with folds, that of the best fold.
average: the mean of the K folds' adapters, as one adapter of K times the rank.
ensemble: all folds' adapters, each in a folder of its own; their probabilities are averaged.
refit: one adapter, trained again on all images outside the test part.
"""

MEASURES = ("dice", "iou", "recall", "precision")


class MeanScore(Frozen):
    """A mean over images with its 95% bootstrap interval over groups. low, high: None with fewer than two groups."""

    mean: float
    low: float | None
    high: float | None

    @classmethod
    def of(cls, interval: Interval) -> "MeanScore":
        """The same with None in place of NaN, which JSON does not have."""
        ends = (None if value != value else value for value in (interval.low, interval.high))
        return cls(mean=interval.mean, low=next(ends), high=next(ends))


class PartScores(Frozen):
    """Scores of one part of the data at one threshold, each image counted once."""

    num_images: int
    num_groups: int | None = None
    """Number of patients or videos among the images: the unit of the intervals."""
    threshold: float
    dice: MeanScore
    iou: MeanScore
    recall: MeanScore
    precision: MeanScore


class Metrics(Frozen):
    """Scores of the exported model.

    val_default: validation part at threshold 0.5. val_chosen: validation part at the chosen threshold.
    test, test_chosen: the same for the locked test part; None if it was not scored.
    With folds, the validation part is every image outside the test part, each scored by the adapter that was not
    trained on it.
    """

    val_default: PartScores
    val_chosen: PartScores
    test: PartScores | None = None
    test_chosen: PartScores | None = None
    test_openings: int = Field(default=0, ge=0)
    """How often models of the search were scored on the locked part: once, unless the winner changed."""
    test_verdict: str = ""
    """How the search's winner compares with the recipe and the untuned base on the locked part, in words."""


class BaseModelName(Frozen):
    """A base model. id: name of its folder or preset. sha256: hash of its files (`model_hash`)."""

    id: str
    sha256: str


class Verification(Frozen):
    """Dice of the export on the validation part at 0.5, from a fresh process, against what the search recorded."""

    recorded_val_dice: float
    val_dice: float
    difference: float
    tolerance: float
    precision: PlainPrecision
    device: str
    searched_in: Precision | None = None
    """Precision of the search if it is another one, as after fp8; otherwise None."""


class SplitRule(Frozen):
    """How the data were split. Which image is in which part is recorded in `content.parquet` in the same folder."""

    ratios: tuple[float, float, float]
    seed: int
    folds: int = 1
    """Number of folds of the images outside the test part; 1 if they are split into train and val."""


class Tuned(Frozen):
    """What its tensors do not tell about an exported adapter or checkpoint."""

    format: int = FORMAT
    trial: str
    epoch: int
    merged: bool = False
    """Whether the folder is a whole checkpoint with the adapter merged into its weights."""
    final: FinalName = "best-run"
    fold: int | None = None
    """For `best-run` of a trial with folds: the fold that the adapter was not trained on. None otherwise."""
    base_model: BaseModelName
    data_fingerprint: str
    split: SplitRule
    question: str = DataSettings.model_fields["question"].default
    """Question used in training, with {text} in place of what is asked for."""
    answer: str = DataSettings.model_fields["answer"].default
    threshold: float = Field(gt=0.0, lt=1.0)
    """Threshold on the sigmoid of the mask logits, chosen on the validation part."""
    metrics: Metrics
    verification: Verification
    config: TrialConfig
    choice: str = ""
    """For the export at the end of a search: why this configuration or the recipe was chosen, in words."""

    def members(self, folder: Path) -> tuple[Path, ...]:
        """The folders of the adapters in `folder`, the folder that this record is in.

        Raises:
            CheckpointError: an adapter of an ensemble is missing.
        """
        if self.final != "ensemble":
            return (folder,)
        members = tuple(ensemble_folder(folder, fold) for fold in range(self.split.folds))
        if missing := [member.name for member in members if not (member / "adapter_model.safetensors").is_file()]:
            raise CheckpointError(
                f"{folder}: is an ensemble of {len(members)} adapters, but {missing[0]} is missing or incomplete. "
                "Copy the whole folder again."
            )
        return members

    def to_json(self) -> str:
        """The file's text."""
        return json.dumps(self.model_dump(mode="json"), indent=1) + "\n"


def ensemble_folder(folder: Path, fold: int) -> Path:
    """The folder of one fold's adapter inside `folder`, that of an ensemble."""
    return folder / f"fold_{fold}"


def read_tuned(folder: Path) -> Tuned | None:
    """The record in `folder`; None if it has none, as for a base model or an adapter made by another program.

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
