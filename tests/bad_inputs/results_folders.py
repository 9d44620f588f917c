"""Results folders that are none, or that were damaged, edited or written by a later version."""

import functools
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from tests.report.making import whole_run
from tune_sa2va.config import RECIPE

from .case import Case

_REPORT, _STATUS, _RESUME = ("report", "--no-figures"), ("status",), ("search", "--resume")
_EXPORT = ("export", "--to", "exported", "--run")
_DEEP = "[" * 5_000
_CHECKPOINT = "ray/checkpoints/t03/checkpoint_0004/state.json"


@functools.cache
def _sound() -> dict[str, bytes]:
    """The files of a finished search."""
    with tempfile.TemporaryDirectory() as name:
        run = whole_run(Path(name) / "run", Path(name) / "data")
        files = {str(path.relative_to(run)): path.read_bytes() for path in run.rglob("*") if path.is_file()}
    state = {"config": RECIPE.to_dict(), "progress": {"epoch": 4, "step": 9, "val_dice": 0.6}, "sha256": {}}
    environment = {"base_model": {"id": "tiny", "sha256": ""}, "data_fingerprint": ""}
    made = {_CHECKPOINT: state, "environment.json": environment}
    return files | {file: json.dumps(content).encode() for file, content in made.items()}


def _case(name: str, command: tuple[str, ...], damage: Callable[[Path], object], *says: str) -> Case:
    def make(folder: Path) -> list[str]:
        run = folder / "run"
        for file, content in _sound().items():
            (run / file).parent.mkdir(parents=True, exist_ok=True)
            (run / file).write_bytes(content)
        damage(run)
        return [*command, str(run)]

    return Case(name=f"results, {command[0]}: {name}", make=make, says=says)


def _each(name: str, damage: Callable[[Path], object], *says: str) -> list[Case]:
    """Met by every command that reads results."""
    return [_case(name, command, damage, *says) for command in (_REPORT, _STATUS, _RESUME, _EXPORT)]


def _other(name: str, make_run: Callable[[Path], object], *says: str) -> list[Case]:
    """No results folder at all."""

    def case(command: tuple[str, ...]) -> Case:
        def make(folder: Path) -> list[str]:
            make_run(folder / "run")
            return [*command, str(folder / "run")]

        return Case(name=f"no results, {command[0]}: {name}", make=make, says=("run", *says))

    return [case(command) for command in (_REPORT, _STATUS, _RESUME, _EXPORT)]


def _write(name: str, content: str | bytes) -> Callable[[Path], object]:
    return lambda run: (run / name).write_bytes(content if isinstance(content, bytes) else content.encode())


def _cut(name: str) -> Callable[[Path], object]:
    return lambda run: (run / name).write_bytes((run / name).read_bytes()[:-30])


def _gone(name: str) -> Callable[[Path], object]:
    return lambda run: (run / name).unlink()


def _edited(change: Callable[[dict[str, Any]], object]) -> Callable[[Path], object]:
    """search.yaml with something else in it."""

    def damage(run: Path) -> None:
        settings = yaml.safe_load((run / "search.yaml").read_text())
        change(settings)
        (run / "search.yaml").write_text(yaml.safe_dump(settings))

    return damage


def _later(name: str) -> Callable[[Path], object]:
    """A table of a version to come."""

    def damage(run: Path) -> None:
        table = pq.read_table(run / name)
        metadata = dict(table.schema.metadata) | {b"tune_sa2va.schema_version": b"99"}
        pq.write_table(table.replace_schema_metadata(metadata), run / name)

    return damage


def _other_columns(name: str) -> Callable[[Path], object]:
    return lambda run: pq.write_table(pa.table({"x": [1]}), run / name)


_NOT_READABLE = ("damaged or not readable", "Put back a copy")
_SETTINGS = ("search.yaml", "start a new search")
_LATER = ("another tune_sa2va wrote it", "start a new search")

RESULTS_FOLDERS = [
    *_other("not there", lambda run: None, "search.yaml", "results/NAME"),
    *_other("empty", lambda run: run.mkdir(), "search.yaml", "results/NAME"),
    *_other("a file", lambda run: run.write_text("x"), "search.yaml", "results/NAME"),
    *_other("a data set", lambda run: (run / "images").mkdir(parents=True), "search.yaml", "results/NAME"),
    *_each("search.yaml cut off", _write("search.yaml", "name: [x"), *_SETTINGS),
    *_each("search.yaml too deep", _write("search.yaml", _DEEP), *_SETTINGS),
    *_each("search.yaml a list", _write("search.yaml", "[]"), *_SETTINGS),
    *_each("search.yaml no UTF-8", _write("search.yaml", b"\xff\xfe"), *_SETTINGS),
    *_each(
        "search.yaml without the model", _edited(lambda held: held.pop("model")), "model: Field required", *_SETTINGS
    ),
    *(
        _case("search.yaml of a later version", command, _edited(lambda held: held.update(warp=9)), "warp", *_LATER)
        for command in (_REPORT, _STATUS, _RESUME)
    ),
    _case("no trials asked for", _RESUME, _edited(lambda held: held.update(trials=0)), "trials", *_SETTINGS),
    _case("an unknown sampler", _RESUME, _edited(lambda held: held.update(sampler="x")), "sampler", *_SETTINGS),
    _case("no space", _RESUME, _edited(lambda held: held.update(space={})), "search.yaml", "'space' must be a map"),
    _case("a space of lists", _RESUME, _edited(lambda held: held.update(space={"space": [1]})), "must be a map"),
    _case("no such field", _RESUME, _edited(lambda held: held["space"]["space"].update(x={"choice": [1]})), "'x'"),
    _case(
        "no such distribution",
        _REPORT,
        _edited(lambda held: held["space"]["space"].update({"lora.r": {"choise": [64]}})),
        "search.yaml",
        "'choise'",
        "'choice'",
    ),
    _case(
        "a bound that cannot be",
        _RESUME,
        _edited(lambda held: held["space"]["space"].update({"lora.r": {"int_uniform": [0, 64]}})),
        "search.yaml",
        "lora.r cannot be 0",
    ),
    *(
        _case(f"{table} {how}", command, damage(table), table, *says)
        for table in ("trials.parquet", "epochs.parquet")
        for command in (_REPORT, _STATUS)
        for how, damage, says in (
            ("garbage", lambda name: _write(name, b"PAR1" + bytes(99)), _NOT_READABLE),
            ("cut off", _cut, _NOT_READABLE),
            ("of a later version", _later, ("got 99", "another tune_sa2va wrote it")),
            ("with other columns", _other_columns, ("got none", "another tune_sa2va wrote it")),
        )
    ),
    *(
        _case(f"{table} gone", command, _gone(table), f"{table}: is gone", "--resume")
        for table in ("trials.parquet", "epochs.parquet")
        for command in (_REPORT, _STATUS)
    ),
    _case("trials.parquet gone", _EXPORT, _gone("trials.parquet"), "trials.parquet: is gone"),
    _case("inherited.json cut off", _REPORT, _write("inherited.json", "{"), "inherited.json", "Put back a copy"),
    _case("that everybody may write", _RESUME, lambda run: run.chmod(0o777), "can be written by everybody", "--trust"),
    _case("names.parquet garbage", _REPORT, _write("names.parquet", b"PAR1"), "names.parquet", "cannot be read"),
    _case("names.parquet garbage", _RESUME, _write("names.parquet", b"PAR1"), "names.parquet", "cannot be read"),
    _case("names.parquet with other columns", _REPORT, _other_columns("names.parquet"), "names.parquet"),
    _case("split.parquet garbage", _STATUS, _write("split.parquet", b"PAR1"), "split.parquet", "Put back a copy"),
    _case("split.parquet with other columns", _STATUS, _other_columns("split.parquet"), "split.parquet"),
    _case("scores cut off", _REPORT, _cut("test_scores.parquet"), "test_scores.parquet", "Put back a copy"),
    _case("scores with other columns", _REPORT, _other_columns("test_scores.parquet"), "another tune_sa2va"),
    _case("environment.json cut off", _REPORT, _write("environment.json", "{"), "environment.json", "Put back a copy"),
    _case("environment.json cut off", _EXPORT, _write("environment.json", "{"), "environment.json", "Put back a copy"),
    _case("environment.json too deep", _REPORT, _write("environment.json", _DEEP), "environment.json", "Put back"),
    _case("environment.json a list", _REPORT, _write("environment.json", "[1]"), "environment.json", "Put back"),
    _case(
        "the adapter's note a list", _REPORT, _write("best_adapter/tune_sa2va.json", "[1]"), "tune_sa2va.json", "Put"
    ),
    _case("a checkpoint's state cut off", _EXPORT, _write(_CHECKPOINT, "{"), "state.json", "damaged"),
    _case("a checkpoint's state too deep", _EXPORT, _write(_CHECKPOINT, _DEEP), "state.json", "damaged"),
    _case("a checkpoint's state a list", _EXPORT, _write(_CHECKPOINT, "[]"), "state.json", "damaged"),
    _case("a checkpoint without its adapter", _EXPORT, lambda run: None, "adapter cannot be copied", "export again"),
]
