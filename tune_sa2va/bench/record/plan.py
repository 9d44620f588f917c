"""The plan of a recording: its configurations, the folds of the images, and the order of the runs."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna

from tune_sa2va.config import RECIPE, TrialConfig
from tune_sa2va.data import Sample, check, open_dataset
from tune_sa2va.data.codes import group_codes, image_code
from tune_sa2va.data.folds import group_folds
from tune_sa2va.durable import write_whole
from tune_sa2va.errors import DataError, ResultsError, UserError
from tune_sa2va.space.search_space import SearchSpace, load_space

PLAN_FILE = "plan.json"


@dataclass(frozen=True, slots=True)
class Run:
    """One adapter: a configuration trained with `seed` on all images outside `fold`."""

    configuration: int
    fold: int
    seed: int

    @property
    def name(self) -> str:
        """The file name of its counts, without ending."""
        return f"c{self.configuration:03d}-f{self.fold}-s{self.seed}"


@dataclass(frozen=True, kw_only=True, slots=True)
class RecordingPlan:
    """What to record; an unfinished recording can only be continued with the same plan.

    space: None if the configurations are those `by_hand`: fields that differ from the recipe, by dotted path.
    num_configurations: points of `space`, the recipe first. seeds: adapters per configuration and fold, with
    `train.seed` 0, 1, ... fold_seed: seed of the folds. sampling_seed: seed of the random points.
    """

    data: str
    space: str | None
    model: str
    num_configurations: int
    folds: int
    seeds: int
    epochs: int
    fold_seed: int = 0
    sampling_seed: int = 0
    by_hand: tuple[dict[str, Any], ...] = ()

    def samples(self) -> tuple[Sample, ...]:
        """All images of the data set, in its order.

        Raises:
            DataError: the data set has an error. Otherwise images would be missing from the recording silently.
        """
        report = check(open_dataset(self.data))
        if report.errors:
            first = report.errors[0]
            raise DataError(
                f"{self.data}: {len(report.errors)} errors, {first.file}: {first.message} "
                f"`python -m tune_sa2va.data check {self.data}` shows them all."
            )
        return report.samples

    def fold_of(self, samples: Sequence[Sample]) -> tuple[int, ...]:
        """The fold of each sample. Raises DataError if there are fewer groups than folds."""
        return group_folds([sample.group for sample in samples], self.folds, seed=self.fold_seed)

    def configs(self) -> list[TrialConfig]:
        """The configurations, with `train.epochs` set and seed 0: the recipe, then random points of the space.

        Raises:
            UserError: a configuration augments images by `data.augment`.
        """
        if self.space is None:
            configs = [RECIPE.replace(fields) for fields in self.by_hand]
        else:
            space = load_space(self.space)
            points = sample_points(space, self.num_configurations, seed=self.sampling_seed)
            configs = [space.config(point) for point in points]
        configs = [config.replace({"train.epochs": self.epochs}) for config in configs]
        if any(config.data.augment != "none" for config in configs):
            raise UserError(f"{self.space}: data.augment must be 'none' in a recording. Take it out of the space.")
        return configs

    def runs(self) -> list[Run]:
        """Every run, seed by seed, so that an unfinished recording is usable.

        Within a seed, configurations that train the same modules follow each other, so that a worker reuses its graphs.
        """
        configs = self.configs()
        order = sorted(range(len(configs)), key=lambda number: (_modules_of(configs[number]), number))
        return [Run(number, fold, seed) for seed in range(self.seeds) for number in order for fold in range(self.folds)]

    def about(self) -> dict[str, Any]:
        """The plan as plain values, with the name of the data set alone."""
        return {name: getattr(self, name) for name in self.__slots__} | {
            "data": Path(self.data).name,
            "by_hand": list(self.by_hand),
        }

    def save(self, folder: Path) -> None:
        """Writes `plan.json` into the recording's folder, or checks that the one there is the same.

        Raises:
            ResultsError: the folder holds another recording.
        """
        path = folder / PLAN_FILE
        mine = self.about()
        if path.exists() and (there := json.loads(path.read_text(encoding="utf-8"))) != mine:
            differing = ", ".join(sorted(name for name in mine if there.get(name) != mine[name]))
            raise ResultsError(
                f"{path}: belongs to a recording with another {differing}. Give the same, or another --out."
            )
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(path, (json.dumps(mine, indent=1) + "\n").encode())


def sample_points(space: SearchSpace, count: int, *, seed: int) -> list[dict[str, Any]]:
    """The recipe and `count` - 1 random points of `space`, as Optuna's parameters; a longer list begins the same."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    return [space.recipe_point(), *(study.ask(space.distributions).params for _ in range(count - 1))]


def coded(samples: Sequence[Sample]) -> list[tuple[str, str]]:
    """(image code, group code) of each sample: a recording holds no names."""
    groups = group_codes(samples)
    return [(image_code(sample), groups[sample.group]) for sample in samples]


def of_fold(fold_of: Sequence[int], fold: int) -> tuple[list[int], list[int]]:
    """Numbers of the samples outside `fold`, which train, and of those inside, which are predicted."""
    outside = [number for number, other in enumerate(fold_of) if other != fold]
    inside = [number for number, other in enumerate(fold_of) if other == fold]
    return outside, inside


def with_seed(config: TrialConfig, seed: int) -> TrialConfig:
    """The configuration with this `train.seed`."""
    return config.replace({"train.seed": seed})


def _modules_of(config: TrialConfig) -> tuple[tuple[str, ...], str, str, int]:
    """What a trial trains, and with it which storage and graphs it needs."""
    return config.train.full_modules, config.encoder.sam2, config.encoder.vision, config.encoder.r
