"""Search spaces: turns a YAML file into Optuna's distributions, and Optuna's parameters into trial configurations.

    fixed:                                     # optional: fields that have this value in every trial
      loss.lm: 0.1
    space:                                     # field path -> one distribution
      lora.r: {choice: [8, 16, 64]}
      optimizer.lr: {log_uniform: [1e-5, 1e-3]}

Kinds: `choice`, `uniform`, `log_uniform`, `int_uniform`, `log_int_uniform`. Everything is checked on loading, before a
trial runs: unknown keys, every bound and every choice (by building a `TrialConfig` with it), and that the recipe is a
point of the space, because trial 0 is the recipe.

A field may change nothing at certain values of others, such as the rank of adapters that do not exist
(`TrialConfig.counts`). Such a field is not part of the trial: it is not sampled, and reports do not show it.

Optuna stores and compares choices as scalars. So a choice that is a list is passed as its JSON text (the dashboard
shows `["text_hidden_fcs", "mask_decoder"]`), and `SearchSpace.config` turns it back into the list.
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
"""The folder next to the package, in a checkout or an editable install. Elsewhere `--space` takes a path only."""


class Kind(StrEnum):
    """How a field is sampled. `choice` takes a list of values; the others take two bounds, both included."""

    CHOICE = "choice"
    UNIFORM = "uniform"
    LOG_UNIFORM = "log_uniform"
    INT_UNIFORM = "int_uniform"
    LOG_INT_UNIFORM = "log_int_uniform"

    @property
    def is_log(self) -> bool:
        """Whether the logarithm is uniform, for a field in which factors matter."""
        return self in (Kind.LOG_UNIFORM, Kind.LOG_INT_UNIFORM)

    @property
    def is_whole(self) -> bool:
        """Whether it gives whole numbers."""
        return self in (Kind.INT_UNIFORM, Kind.LOG_INT_UNIFORM)


@dataclass(frozen=True, slots=True)
class Dimension:
    """One searched field. values: the choices of a `choice`, else the lowest and the highest value."""

    kind: Kind
    values: tuple[Any, ...]

    @property
    def distribution(self) -> BaseDistribution:
        """The distribution for Optuna, with encoded choices."""
        if self.kind is Kind.CHOICE:
            return CategoricalDistribution([encode(value) for value in self.values])
        low, high = self.values
        if self.kind.is_whole:
            return IntDistribution(low, high, log=self.kind.is_log)
        return FloatDistribution(low, high, log=self.kind.is_log)

    def draw(self, trial: optuna.trial.BaseTrial, path: str) -> Any:
        """Lets an Optuna trial sample the field `path`; returns the value as Optuna stores it (`encode`)."""
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
        """Dotted field path -> distribution, for `OptunaSearch(space=...)`."""
        return {path: dimension.distribution for path, dimension in self.dimensions.items()}

    @property
    def base(self) -> TrialConfig:
        """The recipe with the fixed fields applied: the values of all fields that are not sampled."""
        return RECIPE.replace(dict(self.fixed))

    @property
    def conditional(self) -> tuple[str, ...]:
        """Searched fields that count only in some trials, at certain values of another field."""
        return tuple(path for path in self.dimensions if len(self._verdicts(path)) > 1)

    def may_count(self, path: str) -> bool:
        """Whether the searched field changes something in any trial."""
        return True in self._verdicts(path)

    def _verdicts(self, path: str) -> set[bool]:
        """The set of answers to whether the field counts, over all values of the fields that decide it.

        Of a deciding field with a range, only the two ends are tried.
        """
        deciding = [other for other in DECIDED_BY.get(path, ()) if other in self.dimensions]
        free = self.base.replace({"data.augment": "none"})
        choices = product(*(self.dimensions[other].values for other in deciding))
        return {free.replace(dict(zip(deciding, values, strict=True))).counts(path) for values in choices}

    def config(self, params: Mapping[str, Any]) -> TrialConfig:
        """The configuration for Optuna's parameters, checked like a hand-written one.

        params: field path -> value as Optuna stores it, for exactly the searched fields that count in the trial. The
        other fields keep the value of `base`.

        Raises:
            SpaceError: the values do not go together.
            ValueError: the parameters are not those of this space.
        """
        known = set(params) <= set(self.dimensions)
        values = {path: _decode(self.dimensions[path], value) for path, value in params.items() if known}
        try:
            config = self.base.replace(values)
        except ValidationError as error:
            raise SpaceError(
                f"{self.source}: the values {dict(params)} do not go together: {_reason(error)}. Narrow the space."
            ) from error
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
        """Lets an Optuna trial sample its point: the fields that always count, then those that count with them."""
        always = [path for path in self.dimensions if path not in self.conditional]
        drawn = {path: _decode(self.dimensions[path], self.dimensions[path].draw(trial, path)) for path in always}
        config = self.base.replace(drawn)
        for path in self.conditional:
            if config.counts(path):
                self.dimensions[path].draw(trial, path)

    def recipe_point(self) -> dict[str, Any]:
        """The recipe as Optuna's parameters, which is the first point of a search.

        Raises:
            SpaceError: a searched field cannot have the recipe's value.
        """
        recipe = RECIPE.flat()
        point = {}
        for path in self.counting(recipe):
            dimension = self.dimensions[path]
            if not dimension.holds(recipe[path]):
                raise SpaceError(
                    f"{self.source}: {path} must include the recipe's {recipe[path]!r}, as trial 0 is the recipe. "
                    f"Extend its {dimension.kind}, or put {path} under 'fixed'."
                )
            point[path] = encode(recipe[path])
        return point

    def is_recipe(self, values: Mapping[Any, Any]) -> bool:
        """Whether a trial is the recipe: every searched field has the recipe's value.

        values: field path -> value, for every searched field at least, as in a flat configuration or in the trial's row
        of `trials.parquet`. A micro-batch that was halved because memory ran out makes no difference.
        """
        recipe = RECIPE.flat()
        return all(_plain(values[path]) == _plain(recipe[path]) for path in self.dimensions)

    def find_recipe(self, trials: Iterable[Mapping[Any, Any]]) -> str | None:
        """The id of the first trial that is the recipe. trials: rows of `trials.parquet`."""
        return next((str(row["trial_id"]) for row in trials if self.is_recipe(row)), None)

    def possible(self, path: str) -> tuple[Any, ...]:
        """Every value that a field can have in a trial. The field must not be sampled from a range (ValueError)."""
        dimension = self.dimensions.get(path)
        if dimension is None:
            return (self.base.flat()[path],)
        if dimension.kind is not Kind.CHOICE:
            raise ValueError(f"{path} is sampled from a range and has no list of values")
        return dimension.values

    def to_dict(self) -> dict[str, Any]:
        """The space as plain values like those of its file. Paths are sorted, so equal spaces give equal YAML text."""
        return {
            "fixed": dict(sorted(self.fixed.items())),
            "space": {path: {str(d.kind): list(d.values)} for path, d in sorted(self.dimensions.items())},
        }


def load_space(source: str | Path) -> SearchSpace:
    """The search space in a YAML file. source: its path, or the name of a shipped one (`lora` for `lora.yaml`).

    Raises:
        UserError: there is no such file, or its content is no valid search space.
    """
    file = _find(source)
    return check_space(file, read_yaml(file))


def check_space(file: Path, document: Any) -> SearchSpace:
    """The search space in `document`, after all checks. file: where it was read, for messages.

    Raises:
        UserError: something in it is not possible.
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
    """A field's value as Optuna stores it: a list becomes its JSON text, anything else stays as it is."""
    return json.dumps(value) if isinstance(value, list) else value


def _plain(value: Any) -> Any:
    """The value in a form that can be compared: a tuple, or an array in a cell of pandas, becomes a list."""
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
    """The entries of a section, after checking that every key is a field of a trial."""
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
        raise SpaceError(f"{where} cannot be searched, because ASHA allots the epochs. Set them with --epochs.")
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
    if not all(-sys.float_info.max <= bound <= sys.float_info.max for bound in bounds):  # isfinite overflows
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
    """Builds a configuration with each choice and bound, and one with the lowest values of all fields together.

    The last one is where rules between fields are broken first.
    """
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
    """Builds a configuration with the value. Refuses a value that pydantic would convert, such as "8" into 8."""
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
    """The known key most similar to this one, as a whole or in the last part: `lr` means `optimizer.lr`."""

    def likeness(candidate: str) -> float:
        whole = SequenceMatcher(None, str(key), candidate).ratio()
        return max(whole, SequenceMatcher(None, str(key).split(".")[-1], candidate.split(".")[-1]).ratio())

    return max(known, key=likeness)
