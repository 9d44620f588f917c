"""`tune_sa2va.search(...)`: the command's flags are keywords, and its errors are exceptions."""

import inspect
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import tune_sa2va.search as search_package
from tune_sa2va import search
from tune_sa2va.errors import DataError, UserError
from tune_sa2va.search.__main__ import main as command
from tune_sa2va.search.python_api import _DEFAULTS, _results


def test_it_has_the_settings_of_the_command() -> None:
    assert search is search_package
    assert set(_DEFAULTS) == set(inspect.signature(command).parameters) - {"context"}


def test_an_unknown_setting_is_named() -> None:
    with pytest.raises(TypeError, match=r"no setting 'trails'\. The nearest one is 'trials'"):
        search(trails=3)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"trials": 0}, "--trials must be from 1 to 10000, got 0"),
        ({"sampler": "tpu"}, "--sampler must be one of"),
        ({"warm_start": "absent"}, "absent: no results of a search"),
        ({"data": "absent"}, "there is no such file or folder"),
        ({"resume": "absent", "epochs": 3}, "does not take epochs"),
        ({"resume": "absent", "trials": 3}, "no results of a search"),
    ],
)
def test_errors_are_the_commands(tmp_path: Path, settings: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        search(**{"gpus": 0, "out": tmp_path / "results"} | settings if "resume" not in settings else settings)
    assert not (tmp_path / "results").exists()


def test_faulty_data_are_an_exception(tmp_path: Path) -> None:
    for part in ("images", "masks"):
        (tmp_path / "data" / part).mkdir(parents=True)
        Image.new("L", (8, 8)).save(tmp_path / "data" / part / "a.png")
    (tmp_path / "data" / "images" / "a.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"1 faults, first .*a\.png.*tune_sa2va\.data check"):
        search(data=tmp_path / "data", gpus=0, out=tmp_path / "results")
    assert not (tmp_path / "results").exists()


def test_a_signal_that_ended_the_search_ends_the_process(tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as left:
        _results(143, tmp_path)
    assert left.value.code == 143
    with pytest.raises(KeyboardInterrupt):
        _results(130, tmp_path)
