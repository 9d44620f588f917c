"""Any file of settings gives plain values or a one-sentence error, and a valid space survives a round trip."""

import string
from pathlib import Path
from typing import Any

import optuna
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from tune_sa2va.config import RECIPE, TrialConfig
from tune_sa2va.errors import UserError
from tune_sa2va.space.search_space import Kind, SearchSpace, check_space, load_space
from tune_sa2va.space.strict_yaml import read_yaml

FILE = Path("mine.yaml")

_WORDS = st.text(string.ascii_letters + " .é\n'\"#:", max_size=8)
_NUMBERS = st.integers() | st.floats() | st.sampled_from([0, 64, 1e-4, 10**400, -1, True, None])
_VALUES = st.recursive(
    _NUMBERS | _WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_WORDS | _NUMBERS, inner, max_size=3),
    max_leaves=6,
)
_FIELDS = st.sampled_from(sorted(RECIPE.flat())) | _WORDS
_ENTRIES = st.dictionaries(st.sampled_from([str(kind) for kind in Kind]) | _WORDS, _VALUES, max_size=2)
_SECTIONS = st.dictionaries(_FIELDS, _ENTRIES | _VALUES, max_size=4)
_DOCUMENTS = st.dictionaries(st.sampled_from(["space", "fixed"]), _SECTIONS | _VALUES, max_size=2) | _VALUES

_BOUNDS = {
    "optimizer.lr": st.tuples(st.floats(1e-7, 9e-5), st.floats(2e-4, 0.1)),
    "loss.bce": st.tuples(st.floats(0.01, 0.4), st.floats(0.6, 10)),
    "lora.r": st.tuples(st.integers(1, 63), st.integers(65, 512)),
}
"""Numeric fields, with lowest and highest values around the recipe's."""


@st.composite
def spaces(draw: st.DrawFn) -> dict[str, Any]:
    """A document that is a valid search space."""
    space: dict[str, Any] = {}
    for path in draw(st.lists(st.sampled_from(sorted(_BOUNDS)), min_size=1, unique=True)):
        is_whole = path == "lora.r"
        kind = draw(st.sampled_from([kind for kind in Kind if kind is Kind.CHOICE or kind.is_whole == is_whole]))
        low, high = draw(_BOUNDS[path])
        space[path] = {str(kind): [low, RECIPE.flat()[path], high] if kind is Kind.CHOICE else [low, high]}
    fixed = draw(st.dictionaries(st.sampled_from(["loss.lm", "loss.focal"]), st.floats(0, 5), max_size=2))
    return {"fixed": fixed, "space": space}


def _read(text: bytes, folder: Path) -> Any:
    file = folder / "mine.yaml"
    file.write_bytes(text)
    return read_yaml(file)


def _is_one_sentence(error: UserError) -> bool:
    return "\n" not in str(error) and str(error).endswith((".", "?"))


@settings(deadline=None, max_examples=150)
@given(document=_DOCUMENTS)
def test_any_document_is_a_space_or_refused_in_a_sentence(document: Any) -> None:
    try:
        space = check_space(FILE, document)
    except UserError as error:
        assert str(error).startswith(str(FILE)) and _is_one_sentence(error), str(error)
    else:
        assert isinstance(space.config(space.recipe_point()), TrialConfig)


@settings(deadline=None, max_examples=40)
@given(document=spaces(), seed=st.integers(0, 99))
def test_a_space_gives_trials_within_its_bounds_and_is_the_same_after_its_text(
    document: dict[str, Any], seed: int
) -> None:
    space = check_space(FILE, document)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    config = space.config(study.ask(space.distributions).params).flat()
    for path, dimension in space.dimensions.items():
        assert dimension.holds(config[path])
    assert all(config[path] == value for path, value in space.fixed.items())
    again: SearchSpace = check_space(FILE, yaml.safe_load(yaml.safe_dump(space.to_dict())))
    assert (again.dimensions, again.fixed) == (space.dimensions, space.fixed)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One file for all examples."""
    return tmp_path_factory.mktemp("yaml")


@settings(deadline=None, max_examples=150)
@given(text=st.binary(max_size=60) | st.text("{}[]:,-&*!|>%@`'\"#\n\t ab1.eE\0\ufeff", max_size=60).map(str.encode))
def test_any_bytes_are_read_or_refused_in_a_sentence(text: bytes, folder: Path) -> None:
    try:
        _read(text, folder)
    except UserError as error:
        assert "mine.yaml" in str(error) and _is_one_sentence(error), str(error)


@settings(deadline=None, max_examples=80)
@given(document=spaces())
def test_plain_values_come_back_as_they_were_written(document: dict[str, Any], folder: Path) -> None:
    assert _read(yaml.safe_dump(document).encode(), folder) == document
    assert load_space(folder / "mine.yaml").to_dict() == check_space(FILE, document).to_dict()


@settings(deadline=None, max_examples=80)
@given(digits=st.integers(1, 9999), power=st.integers(-30, 30), sign=st.sampled_from(["", "-", "+"]))
def test_numbers_with_an_exponent_are_numbers(digits: int, power: int, sign: str, folder: Path) -> None:
    for text in (f"{sign}{digits}e{power}", f"{sign}{digits}.5E{power:+d}"):
        assert _read(f"a: {text}".encode(), folder) == {"a": float(text)}
