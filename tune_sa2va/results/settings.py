"""A search, whole: every flag resolved, as `search.yaml` in the results holds it and `--resume` reads it."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import Field, ValidationError

from tune_sa2va.config import RECIPE, Augment, DataSettings, Frozen, LaneSettings, ModelSettings, TrialConfig
from tune_sa2va.durable import write_whole
from tune_sa2va.errors import ResultsError
from tune_sa2va.evaluate.tuned import FinalName
from tune_sa2va.space.rerun import RERUN_SEED, without_rerun
from tune_sa2va.space.search_space import Dimension, Kind, SearchSpace, check_space

SamplerName = Literal["tpe", "gp", "cmaes", "random"]

FILE_NAME = "search.yaml"
JOURNAL_FILE = "optuna.journal"
"""The Optuna study, beside it."""
CHECKPOINTS = "ray/checkpoints"
"""In it a folder a trial, with its checkpoints (`lane.store`)."""
GRACE_PERIOD, REDUCTION_FACTOR = 1, 3
"""ASHA's, where nothing else is asked for: rungs after 1, 3, 9, ... epochs, at which the best third goes on."""

_CURE = "Put back a copy of it, or start a new search."


class SearchSettings(Frozen):
    """What a search needs to run, and to run again. Made by `preflight`; nobody checks it twice."""

    name: str
    out: Path
    """The folder that holds results folders; absolute."""
    model: ModelSettings
    data: DataSettings
    space_file: Path
    space: dict[str, Any]
    """The file's content at the time of the search; a resumed search uses this one."""
    gpus: int = Field(ge=0)
    gpus_per_trial: int = Field(ge=1)
    lanes: int = Field(ge=1)
    cpus_per_worker: int = Field(ge=1)
    trials: int = Field(ge=1)
    epochs: int = Field(ge=1)
    time_budget_s: float | None
    """Seconds after which no trial goes on; None for no limit."""
    sampler: SamplerName
    warm_start: Path | None = None
    """Results of an earlier search whose trials the sampler was told; what it was told is in `inherited.json`."""
    seed: int = Field(ge=0)
    """Of the sampler, of the split and of every trial's training."""
    max_disk_gib: float | None = Field(default=None, gt=0)
    """GiB that the results folder may take; None for no limit."""
    folds: int | None = Field(default=1, ge=1)
    """Adapters that a trial trains, each without one fold of the groups; 1 for one split into train and val. None only
    until the images have been looked at, where the search may choose."""
    grace_period: int = Field(default=GRACE_PERIOD, ge=1)
    """Epochs before ASHA may stop a trial: its first rung."""
    reduction_factor: int = Field(default=REDUCTION_FACTOR, ge=2)
    """At a rung ASHA lets the best of so many trials go on; and the next rung is so many times as far."""
    final: FinalName | Literal["auto"] = "best-run"
    """What of the winner is exported; auto only until the images have been looked at."""
    confirm: int = Field(default=0, ge=0)
    """How many of the best configurations run again at the end, to the last epoch, and the recipe with them; 0: none"""
    seeds: int = Field(default=2, ge=1)
    """How often each of them, with another seed each time."""
    storage: str | None = None
    """URI of the folder that holds copies of results folders (`storage`); None for no copy."""
    address: str | None
    """A running Ray cluster, or None for one of our own."""
    feature_cache: Path
    cache_limit_gib: float | None = Field(default=None, gt=0)
    """GiB that all feature caches of a node may take together; None for what the disk has."""
    raw_high_res: bool
    """Some trial may train the mask decoder in full."""
    augment: Augment = "none"
    """The widest `data.augment` of any trial."""
    checkpointed: bool = False
    """Steps compute activations again in place of keeping them, because they would not fit otherwise or as asked."""

    @property
    def folder(self) -> Path:
        """Where this search writes everything."""
        return self.out / self.name

    @property
    def checkpoints(self) -> Path:
        """A folder a trial, with its checkpoints (`lane.store`)."""
        return self.folder / CHECKPOINTS

    @property
    def tune_folder(self) -> Path:
        """Tune's own experiment folder."""
        return self.folder / "ray" / "tune"

    @property
    def num_reruns(self) -> int:
        """At most so many confirm the best: those of the best configurations, and the recipe's."""
        return (self.confirm + 1) * self.seeds if self.confirm else 0

    @property
    def final_form(self) -> FinalName:
        """`final` of a search that runs."""
        assert self.final != "auto", "images have been looked at"
        return self.final

    @property
    def lane(self) -> LaneSettings:
        """What each lane needs."""
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
            checkpointed=self.checkpointed,
            max_rank=int(self._largest("lora.r", RECIPE.lora.r)),
            any_dropout=self._largest("lora.dropout", RECIPE.lora.dropout) > 0,
            runs_sam2=any(config.runs_sam2 for config in self._by_encoders()),
            runs_vision=any(config.runs_vision for config in self._by_encoders()),
            max_encoder_rank=int(self._largest("encoder.r", RECIPE.encoder.r)),
        )

    def _by_encoders(self) -> Iterator[TrialConfig]:
        """A trial for every choice that says which encoders run in the steps."""
        space = self.search_space
        recipe = space.base.replace({"data.augment": "none"})
        for path in ("encoder.sam2", "encoder.vision", "train.full_modules"):
            yield from (recipe.replace({path: value}) for value in space.possible(path))

    def _largest(self, path: str, recipe: float) -> float:
        """The largest value of a field in any trial, the recipe's included: it runs in the same lanes."""
        space = self.search_space
        searched = space.dimensions[path].values if path in space.dimensions else ()
        return max(recipe, space.fixed.get(path, recipe), *searched)

    @property
    def search_space(self) -> SearchSpace:
        """The space, from the settings and not from its file, which may have changed since."""
        dimensions = {
            path: Dimension(Kind(kind), tuple(values))
            for path, entry in self.space["space"].items()
            for kind, values in entry.items()
        }
        return SearchSpace(source=self.space_file, fixed=self.space["fixed"], dimensions=dimensions)

    def trial_config(self, params: Mapping[str, Any]) -> TrialConfig:
        """The trial at a point of the space, with the search's epochs, and its seed unless the space has its own.

        A rerun brings its seed (`space.rerun`).
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
        """Reads `search.yaml` of a results folder; `out` and `name` are where the folder is now.

        Raises:
            UserError: no such file, or not one of ours.
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
            raise ResultsError(f"{file}: holds no settings. {_CURE}")
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
