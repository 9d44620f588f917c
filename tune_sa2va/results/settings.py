"""All settings of a search with every flag resolved, as stored in `search.yaml` of the results for `--resume`."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import Field, ValidationError

from tune_sa2va.config import RECIPE, Augment, DataSettings, Frozen, LaneSettings, ModelSettings, Saving, TrialConfig
from tune_sa2va.durable import write_whole
from tune_sa2va.errors import ResultsError
from tune_sa2va.evaluate.tuned import FinalName
from tune_sa2va.space.rerun import RERUN_SEED, without_rerun
from tune_sa2va.space.search_space import Dimension, Kind, SearchSpace, check_space

SamplerName = Literal["tpe", "gp", "cmaes", "random"]

FILE_NAME = "search.yaml"
JOURNAL_FILE = "optuna.journal"
"""File of the Optuna study in the results folder."""
CHECKPOINTS = "ray/checkpoints"
"""Folder with one folder of checkpoints per trial (`lane.store`)."""
GRACE_PERIOD, REDUCTION_FACTOR = 1, 3
"""ASHA's defaults: rungs after 1, 3, 9, ... epochs, at which the best third continues."""

_CURE = "Put back a copy of it, or start a new search."


class SearchSettings(Frozen):
    """Everything that a search needs to run and to be resumed. `preflight` makes and checks it."""

    name: str
    out: Path
    """The folder that holds results folders; absolute."""
    model: ModelSettings
    data: DataSettings
    space_file: Path
    space: dict[str, Any]
    """Content of `space_file` when the search started; a resumed search uses this, too."""
    gpus: int = Field(ge=0)
    gpus_per_trial: int = Field(ge=1)
    lanes: int = Field(ge=1)
    seats: int = Field(default=1, ge=1)
    """Trials that share a lane and its steps at a time: as many, or at most as many if `seats_reason` is given."""
    seats_reason: str = ""
    """Why the search chose this number by itself; empty if it was given. If it is above 1, each lane measures whether
    its trials share steps or train one at a time."""
    cpus_per_worker: int = Field(ge=1)
    trials: int = Field(ge=1)
    epochs: int = Field(ge=1)
    time_budget_s: float | None
    """Seconds after which no trial continues; None for no limit."""
    sampler: SamplerName
    warm_start: Path | None = None
    """Results folder of an earlier search whose trials the sampler was told; `inherited.json` has what it was told."""
    seed: int = Field(ge=0)
    """Seed of the sampler, of the split and of every trial's training."""
    max_disk_gib: float | None = Field(default=None, gt=0)
    """GiB that the results folder may take; None for no limit."""
    folds: int | None = Field(default=1, ge=1)
    """Number of folds, and of adapters that a trial trains; 1 for one split into train and val. None only until the
    images have been read, if the search is to choose."""
    grace_period: int = Field(default=GRACE_PERIOD, ge=1)
    """Epochs before ASHA may stop a trial: its first rung."""
    reduction_factor: int = Field(default=REDUCTION_FACTOR, ge=2)
    """At a rung, ASHA lets 1 of this many trials continue, and the next rung is this many times as many epochs."""
    final: FinalName | Literal["auto"] = "best-run"
    """Form in which the winner is exported; "auto" only until the images have been read."""
    confirm: int = Field(default=0, ge=0)
    """How many of the best configurations run again at the end, to the last epoch, with the recipe; 0: none."""
    seeds: int = Field(default=2, ge=1)
    """How often each of them runs again, with another seed each time."""
    storage: str | None = None
    """URI of the folder for copies of results folders (`storage`); None for no copies."""
    address: str | None
    """Address of a running Ray cluster; None to start one."""
    feature_cache: Path
    cache_limit_gib: float | None = Field(default=None, gt=0)
    """GiB that all feature caches of a node may take together; None for no limit but the disk."""
    raw_high_res: bool
    """Whether some trial may train the mask decoder in full."""
    augment: Augment = "none"
    """The widest `data.augment` of any trial."""
    checkpointed: bool = False
    """Whether activations are computed again in the backward pass: on request, or because a step would not fit."""

    @property
    def folder(self) -> Path:
        """The results folder, to which this search writes everything."""
        return self.out / self.name

    @property
    def checkpoints(self) -> Path:
        """The folder with one folder of checkpoints per trial (`lane.store`)."""
        return self.folder / CHECKPOINTS

    @property
    def tune_folder(self) -> Path:
        """Tune's own experiment folder."""
        return self.folder / "ray" / "tune"

    @property
    def concurrency(self) -> int:
        """Most trials that run at a time."""
        return self.lanes * self.seats

    @property
    def probes_seats(self) -> bool:
        """Whether each lane measures how many seats it has."""
        return bool(self.seats_reason) and self.seats > 1

    def with_saving(self, saving: Saving) -> "SearchSettings":
        """These settings, with lanes that save so much memory."""
        model = self.model.model_copy(update={"fp8_copies": saving.fp8_copies})
        return self.model_copy(update={"checkpointed": saving.checkpointed, "model": model})

    @property
    def num_reruns(self) -> int:
        """The largest number of reruns that confirm the best: of the best configurations and of the recipe."""
        return (self.confirm + 1) * self.seeds if self.confirm else 0

    @property
    def final_form(self) -> FinalName:
        """`final`, once it has been decided."""
        assert self.final != "auto", "the images have been read by now"
        return self.final

    @property
    def lane(self) -> LaneSettings:
        """The settings of each lane."""
        return LaneSettings(
            model=self.model,
            data=self.data,
            feature_cache=self.feature_cache,
            cache_limit_gib=self.cache_limit_gib,
            raw_high_res=self.raw_high_res,
            augment=self.augment,
            num_workers=self.gpus_per_trial if self.gpus else 1,
            use_gpu=self.gpus > 0,
            cpus_per_worker=self.cpus_per_worker,
            seats=self.seats,
            seats_probe=self.trial_config(self.search_space.recipe_point()) if self.probes_seats else None,
            checkpointed=self.checkpointed,
            max_rank=int(self._largest("lora.r", RECIPE.lora.r)),
            any_dropout=self._largest("lora.dropout", RECIPE.lora.dropout) > 0,
            runs_sam2=any(config.runs_sam2 for config in self._by_encoders()),
            runs_vision=any(config.runs_vision for config in self._by_encoders()),
            max_encoder_rank=int(self._largest("encoder.r", RECIPE.encoder.r)),
        )

    def _by_encoders(self) -> Iterator[TrialConfig]:
        """Configurations with every possible value of the fields that decide which encoders run in the steps."""
        space = self.search_space
        recipe = space.base.replace({"data.augment": "none"})
        for path in ("encoder.sam2", "encoder.vision", "train.full_modules"):
            yield from (recipe.replace({path: value}) for value in space.possible(path))

    def _largest(self, path: str, recipe: float) -> float:
        """The largest value of a field in any trial, including the recipe, which runs in the same lanes."""
        space = self.search_space
        searched = space.dimensions[path].values if path in space.dimensions else ()
        return max(recipe, space.fixed.get(path, recipe), *searched)

    @property
    def search_space(self) -> SearchSpace:
        """The search space as stored in these settings; `space_file` may have changed since."""
        dimensions = {
            path: Dimension(Kind(kind), tuple(values))
            for path, entry in self.space["space"].items()
            for kind, values in entry.items()
        }
        return SearchSpace(source=self.space_file, fixed=self.space["fixed"], dimensions=dimensions)

    def trial_config(self, params: Mapping[str, Any]) -> TrialConfig:
        """The configuration at a point of the space, with the search's epochs and, unless the space has one, its seed.

        A rerun has a seed of its own in `params` (`space.rerun`).
        """
        space = self.search_space
        given: dict[str, Any] = {"train.epochs": self.epochs}
        if "train.seed" not in {*space.fixed, *space.dimensions}:
            given["train.seed"] = self.seed
        if RERUN_SEED in params:
            given["train.seed"] = params[RERUN_SEED]
        return space.config(without_rerun(params)).replace(given)

    def save(self, folder: Path) -> None:
        """Writes `search.yaml` into `folder`."""
        text = yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
        write_whole(folder / FILE_NAME, text.encode())

    @classmethod
    def load(cls, folder: Path) -> "SearchSettings":
        """Reads `search.yaml` of a results folder; `out` and `name` are set to where the folder is now.

        Raises:
            UserError: the file is missing, damaged or of another version.
        """
        file = folder / FILE_NAME
        try:
            values = yaml.safe_load(file.read_text(encoding="utf-8"))
        except (FileNotFoundError, NotADirectoryError) as error:
            raise ResultsError(
                f"{folder}: no results of a search (it has no {FILE_NAME}). Give the folder results/NAME of a search."
            ) from error
        except (OSError, UnicodeDecodeError, yaml.YAMLError, RecursionError) as error:
            raise ResultsError(f"{file}: cannot be read ({' '.join(str(error).split())}). {_CURE}") from error
        if not isinstance(values, dict):
            raise ResultsError(f"{file}: has no settings. {_CURE}")
        here = {"out": str(folder.resolve().parent), "name": folder.resolve().name}
        try:
            settings = cls.model_validate(values | here)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            raise ResultsError(
                f"{file}: {where}: {first['msg']}; it was edited, or another tune_sa2va wrote it. {_CURE}"
            ) from error
        check_space(file, settings.space)
        return settings
