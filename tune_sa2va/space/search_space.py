"""Search spaces: a YAML file in, Optuna's distributions and checked trial configurations out.

    fixed:                                     # optional: fields that every trial has at this value
      loss.lm: 0.1
    space:                                     # field path -> one distribution
      lora.r: {choice: [8, 16, 64]}
      optimizer.lr: {log_uniform: [1e-5, 1e-3]}

Kinds: `choice`, `uniform`, `log_uniform`, `int_uniform`, `log_int_uniform`. Everything is checked on loading, before a
trial runs: unknown keys, every bound and every choice (by building a `TrialConfig` with it), and that the user's recipe
is a point of the space, because trial 0 is the recipe.

A field that changes nothing at the values of others (the rank of adapters that are not there: `TrialConfig.counts`) is
no part of the trial: it is not drawn, not shown, and nothing is said of its importance.

Optuna stores and compares choices as scalars, so a choice that is a list goes to it as its JSON text (which is what the
dashboard then shows: `["text_hidden_fcs", "mask_decoder"]`) and comes back as the list in `SearchSpace.config`.
"""

import json
import math
import os
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import SequenceMatcher
from enum import StrEnum
from itertools import product
from pathlib import Path
from types import MappingProxyType
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from pydantic import ValidationError

import tune_sa2va
from tune_sa2va.config import DECIDED_BY, RECIPE, TrialConfig
from tune_sa2va.errors import SpaceError
from tune_sa2va.space.strict_yaml import read_yaml

SHIPPED_SPACES = Path(tune_sa2va.__file__).parents[1] / "search_spaces"
"""The folder beside the package, in a checkout or an editable install; elsewhere `--space` takes a path."""


class Kind(StrEnum):
    """How a field is sampled. Each takes two bounds, both included, but for `choice`, which takes its values."""

    CHOICE = "choice"
    UNIFORM = "uniform"
    LOG_UNIFORM = "log_uniform"
    INT_UNIFORM = "int_uniform"
    LOG_INT_UNIFORM = "log_int_uniform"

    @property
    def is_log(self) -> bool:
        """Uniform in the logarithm: for a field that matters by factors."""
        return self in (Kind.LOG_UNIFORM, Kind.LOG_INT_UNIFORM)

    @property
    def is_whole(self) -> bool:
        """Gives whole numbers."""
        return self in (Kind.INT_UNIFORM, Kind.LOG_INT_UNIFORM)


@dataclass(frozen=True, slots=True)
class Dimension:
    """One searched field: its kind with the choices, or with the lowest and the highest value."""

    kind: Kind
    values: tuple[Any, ...]

    @property
    def distribution(self) -> BaseDistribution:
        """As Optuna has it."""
        if self.kind is Kind.CHOICE:
            return CategoricalDistribution([encode(value) for value in self.values])
        low, high = self.values
        if self.kind.is_whole:
            return IntDistribution(low, high, log=self.kind.is_log)
        return FloatDistribution(low, high, log=self.kind.is_log)

    def draw(self, trial: optuna.trial.BaseTrial, path: str) -> Any:
        """What an Optuna trial takes from here, as Optuna stores it."""
        if self.kind is Kind.CHOICE:
            return trial.suggest_categorical(path, [encode(value) for value in self.values])
        low, high = self.values
        if self.kind.is_whole:
            return trial.suggest_int(path, low, high, log=self.kind.is_log)
        return trial.suggest_float(path, low, high, log=self.kind.is_log)

    def holds(self, value: Any) -> bool:
        """Whether the field can take this value."""
        if self.kind is Kind.CHOICE:
            return value in self.values
        return bool(self.values[0] <= value <= self.values[1])


@dataclass(frozen=True, slots=True)
class SearchSpace:
    """A checked search space. Made by `load_space`."""

    source: Path
    fixed: Mapping[str, Any]
    dimensions: Mapping[str, Dimension]

    @property
    def distributions(self) -> dict[str, BaseDistribution]:
        """Dotted field path -> distribution, as `OptunaSearch(space=...)` takes it."""
        return {path: dimension.distribution for path, dimension in self.dimensions.items()}

    @property
    def base(self) -> TrialConfig:
        """The recipe with the fixed fields applied: what a trial has where nothing is sampled."""
        return RECIPE.replace(dict(self.fixed))

    @property
    def conditional(self) -> tuple[str, ...]:
        """Searched fields that only some trials have: they count where another field has certain values."""
        return tuple(path for path in self.dimensions if len(self._verdicts(path)) > 1)

    def may_count(self, path: str) -> bool:
        """Whether there is a trial in which the searched field changes something."""
        return True in self._verdicts(path)

    def _verdicts(self, path: str) -> set[bool]:
        """Whether the field counts, over what the fields may be that decide it (of a range: its ends)."""
        deciding = [other for other in DECIDED_BY.get(path, ()) if other in self.dimensions]
        free = self.base.replace({"data.augment": "none"})
        choices = product(*(self.dimensions[other].values for other in deciding))
        return {free.replace(dict(zip(deciding, values, strict=True))).counts(path) for values in choices}

    def config(self, params: Mapping[str, Any]) -> TrialConfig:
        """The trial that Optuna's parameters stand for, checked as a hand-written one is.

        Parameters are those of the fields that count in it; the others keep the value of `base`.
        """
        known = set(params) <= set(self.dimensions)
        values = {path: _decode(self.dimensions[path], value) for path, value in params.items() if known}
        try:
            config = self.base.replace(values)
        except ValidationError as error:
            raise SpaceError(f"{self.source}: the trial {dict(params)} cannot be: {_reason(error)}.") from error
        if set(params) != (wanted := self._counting(config)):
            raise ValueError(f"{self.source}: parameters of another space: {sorted(set(params) ^ wanted)}")
        return config

    def _counting(self, config: TrialConfig) -> set[str]:
        conditional = set(self.conditional)
        return {path for path in self.dimensions if path not in conditional or config.counts(path)}

    def counting(self, values: Mapping[Any, Any]) -> list[str]:
        """The searched fields that count in a trial. values: as `is_recipe` takes them."""
        if not self.conditional:
            return list(self.dimensions)
        deciding = {path: _plain(values[path]) for path in self.dimensions if path not in self.conditional}
        wanted = self._counting(self.base.replace(deciding))
        return [path for path in self.dimensions if path in wanted]

    def suggest(self, trial: optuna.trial.BaseTrial) -> None:
        """Has an Optuna trial draw its point: the fields that always count, then those that count beside them."""
        always = [path for path in self.dimensions if path not in self.conditional]
        drawn = {path: _decode(self.dimensions[path], self.dimensions[path].draw(trial, path)) for path in always}
        config = self.base.replace(drawn)
        for path in self.conditional:
            if config.counts(path):
                self.dimensions[path].draw(trial, path)

    def recipe_point(self) -> dict[str, Any]:
        """The user's recipe as Optuna's parameters: the first point of a search."""
        recipe = RECIPE.flat()
        point = {}
        for path in self.counting(recipe):
            dimension = self.dimensions[path]
            if not dimension.holds(recipe[path]):
                raise SpaceError(
                    f"{self.source}: {path} does not hold the recipe's {recipe[path]!r}, and trial 0 is the recipe. "
                    f"Let its {dimension.kind} include {recipe[path]!r}, or put {path} under 'fixed'."
                )
            point[path] = encode(recipe[path])
        return point

    def is_recipe(self, values: Mapping[Any, Any]) -> bool:
        """Whether a trial aims at the recipe: every searched value is the recipe's.

        values: of every searched field at least, as in a configuration or in the trial's row of `trials.parquet`. What
        became of the trial does not count: with a micro-batch that was halved, because memory ran out, it is the same.
        """
        recipe = RECIPE.flat()
        return all(_plain(values[path]) == _plain(recipe[path]) for path in self.dimensions)

    def possible(self, path: str) -> tuple[Any, ...]:
        """Every value that a trial can have in a field that is not sampled from a range."""
        dimension = self.dimensions.get(path)
        if dimension is None:
            return (self.base.flat()[path],)
        if dimension.kind is not Kind.CHOICE:
            raise ValueError(f"{path} is sampled from a range and has no list of values")
        return dimension.values

    def to_dict(self) -> dict[str, Any]:
        """The space as its file would have it, in the order of the paths: equal spaces give equal YAML text."""
        return {
            "fixed": dict(sorted(self.fixed.items())),
            "space": {path: {str(d.kind): list(d.values)} for path, d in sorted(self.dimensions.items())},
        }


def load_space(source: str | Path) -> SearchSpace:
    """The search space of a YAML file, or of a shipped one by its name (`lora` for `search_spaces/lora.yaml`)."""
    file = _find(source)
    return check_space(file, read_yaml(file))


def check_space(file: Path, document: Any) -> SearchSpace:
    """The search space that stands in `file`, once everything in it is known to be possible.

    Raises:
        UserError: something is not.
    """
    if not isinstance(document, dict):
        raise SpaceError(f"{file}: holds no search space. Give it a map 'space' of field paths to distributions.")
    for key in document:
        if key not in ("fixed", "space"):
            raise SpaceError(
                f"{file}: unknown key {key!r}. The nearest known one is {_nearest(key, ('fixed', 'space'))!r}."
            )
    fixed = _read_fixed(file, _fields_of(file, "fixed", document.get("fixed", {})))
    entries = _fields_of(file, "space", document.get("space"))
    if not entries:
        raise SpaceError(f"{file}: 'space' is empty. Give at least one field to search, for example optimizer.lr.")
    for path in entries:
        if path in fixed:
            raise SpaceError(f"{file}: {path} is both fixed and searched. Take it out of 'fixed' or of 'space'.")
    dimensions = {path: _read_dimension(f"{file}: {path}", path, entry) for path, entry in entries.items()}
    space = SearchSpace(source=file, fixed=MappingProxyType(fixed), dimensions=MappingProxyType(dimensions))
    _check_values(space)
    space.recipe_point()
    return space


def encode(value: Any) -> Any:
    """A field's value as Optuna stores it: a list as its JSON text, anything else as it is."""
    return json.dumps(value) if isinstance(value, list) else value


def _plain(value: Any) -> Any:
    """A list for a tuple, and for the array that pandas has in a cell."""
    return list(value) if hasattr(value, "__len__") and not isinstance(value, str) else value


def _decode(dimension: Dimension, stored: Any) -> Any:
    if dimension.kind is Kind.CHOICE and isinstance(stored, str):
        return next((value for value in dimension.values if encode(value) == stored), stored)
    return stored


def _find(source: str | Path) -> Path:
    given = Path(source)
    shipped = SHIPPED_SPACES / f"{given}.yaml"
    is_file = os.path.isfile(given)  # noqa: PTH113 (Path.is_file raises on a name of 300 characters)
    if given.name == str(given) and not is_file and os.path.isfile(shipped):  # noqa: PTH113
        return shipped
    if not is_file:
        names = ", ".join(sorted(file.stem for file in SHIPPED_SPACES.glob("*.yaml"))) or "none found"
        raise SpaceError(f"{given}: no such search space. Give a YAML file, or the name of a shipped one ({names}).")
    return given


def _fields_of(file: Path, section: str, entries: Any) -> dict[str, Any]:
    """A section's entries, once every key is known to be a field of a trial."""
    if not isinstance(entries, dict):
        raise SpaceError(
            f"{file}: {section!r} must be a map of field paths, got {entries!r}. See search_spaces/lora.yaml."
        )
    known = RECIPE.flat()
    for path in entries:
        if path not in known:
            raise SpaceError(
                f"{file}: unknown field {path!r} in '{section}'. The nearest known one is {_nearest(path, known)!r}."
            )
    return entries


def _read_fixed(file: Path, entries: dict[str, Any]) -> dict[str, Any]:
    for path, value in entries.items():
        _check_value(f"{file}: {path}", RECIPE, path, value)
    try:
        RECIPE.replace(entries)
    except ValidationError as error:
        raise SpaceError(f"{file}: the values under 'fixed' do not go together: {_reason(error)}.") from error
    return entries


def _read_dimension(where: str, path: str, entry: Any) -> Dimension:
    kinds = [str(kind) for kind in Kind]
    if not isinstance(entry, dict) or len(entry) != 1:
        raise SpaceError(f"{where} must have exactly one of {', '.join(kinds)}, got {entry!r}.")
    ((name, values),) = entry.items()
    if name not in kinds:
        raise SpaceError(f"{where}: unknown distribution {name!r}. The nearest known one is {_nearest(name, kinds)!r}.")
    if path == "train.epochs":
        raise SpaceError(f"{where} cannot be searched: epochs are what ASHA deals out. Set them with --epochs.")
    kind = Kind(name)
    if not isinstance(values, list):
        raise SpaceError(f"{where}: {kind} must have a list of values, got {values!r}.")
    if kind is Kind.CHOICE:
        _check_choices(where, values)
    else:
        _check_bounds(where, kind, RECIPE.flat()[path], values)
    return Dimension(kind, tuple(values))


def _check_choices(where: str, choices: list[Any]) -> None:
    if not choices:
        raise SpaceError(f"{where}: choice must have at least one value, got [].")
    twice = [value for number, value in enumerate(choices) if value in choices[:number]]
    if twice:
        raise SpaceError(f"{where}: choice has {twice[0]!r} twice. Give each value once.")


def _check_bounds(where: str, kind: Kind, recipe_value: Any, bounds: list[Any]) -> None:
    if isinstance(recipe_value, bool) or not isinstance(recipe_value, int | float):
        raise SpaceError(f"{where} is not a number and cannot have {kind}. Use choice.")
    if isinstance(recipe_value, int) and not kind.is_whole:
        raise SpaceError(
            f"{where} is a whole number and cannot have {kind}. Use int_uniform, log_int_uniform or choice."
        )
    if len(bounds) != 2 or any(isinstance(bound, bool) or not isinstance(bound, int | float) for bound in bounds):
        raise SpaceError(f"{where}: {kind} must have two numbers, the lowest and the highest value, got {bounds!r}.")
    if not all(-sys.float_info.max <= bound <= sys.float_info.max for bound in bounds):  # not isfinite: it overflows
        raise SpaceError(f"{where}: {kind} must have finite bounds, got {bounds!r}.")
    if kind.is_whole and not all(isinstance(bound, int) for bound in bounds):
        raise SpaceError(f"{where}: {kind} must have whole numbers as bounds, got {bounds!r}.")
    low, high = bounds
    if not low < high:
        raise SpaceError(
            f"{where}: {kind} must have its lowest value first, got {bounds!r}. For one value use 'fixed'."
        )
    if kind.is_log and low <= 0:
        raise SpaceError(f"{where}: {kind} must start above 0, got {bounds!r}. To reach 0 use uniform or choice.")


def _check_values(space: SearchSpace) -> None:
    """Each choice and bound in a configuration, then the lowest of all together: there rules between fields break."""
    for path, dimension in space.dimensions.items():
        for value in dimension.values:
            _check_value(f"{space.source}: {path}", space.base, path, value)
    for path in space.dimensions:
        if not space.may_count(path):
            raise SpaceError(
                f"{space.source}: {path} changes nothing at the values that {' and '.join(DECIDED_BY[path])} have in "
                "every trial. Search one of these, too, or take it out."
            )
    lowest = {path: min(dimension.values, key=_low_first) for path, dimension in space.dimensions.items()}
    space.config({path: encode(lowest[path]) for path in space.counting(lowest)})


def _low_first(value: Any) -> tuple[bool, Any]:
    return (False, value) if isinstance(value, int | float) else (True, len(value))


def _check_value(where: str, base: TrialConfig, path: str, value: Any) -> None:
    """Builds a configuration with the value; refuses one that pydantic would turn into something else ("8" into 8)."""
    try:
        taken = base.replace({path: value}).flat()[path]
    except ValidationError as error:
        raise SpaceError(f"{where} cannot be {value!r}: {_reason(error)}. Change or take out that value.") from error
    if isinstance(value, float) and not math.isfinite(value):
        raise SpaceError(f"{where} cannot be {value!r}. Give a finite number.")
    if taken != value or isinstance(taken, bool) != isinstance(value, bool):
        raise SpaceError(f"{where} cannot be {value!r}: it would be read as {taken!r}. Write that instead.")


def _reason(error: ValidationError) -> str:
    """The first fault of a configuration, as part of a sentence."""
    message = error.errors()[0]["msg"].removeprefix("Value error, ").rstrip(".")
    return message[0].lower() + message[1:]


def _nearest(key: Any, known: Iterable[str]) -> str:
    """The known key most like this one, judged whole or by its last part: `lr` means `optimizer.lr`."""

    def likeness(candidate: str) -> float:
        whole = SequenceMatcher(None, str(key), candidate).ratio()
        return max(whole, SequenceMatcher(None, str(key).split(".")[-1], candidate.split(".")[-1]).ratio())

    return max(known, key=likeness)
