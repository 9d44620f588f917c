"""Snapshots of Tune's state: whole, the newest, and with the journal as long as it was then."""

import os
from pathlib import Path

import pytest

from tune_sa2va.search.snapshots import Snapshots

FILES = {
    "experiment_state-1.json": "state",
    "search_gen_state-1.json": "generator",
    "searcher-state-1.pkl": "searcher",
    "callback-states-1.pkl": "callbacks",
}


def save(staging: Path, second: int, mark: str) -> None:
    """Tune saves."""
    staging.mkdir(exist_ok=True)
    for name, content in FILES.items():
        path = staging / name
        path.write_text(f"{content} {mark}")
        os.utime(path, (second, second))


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    path = tmp_path / "optuna.journal"
    path.write_bytes(b"one\n")
    return path


def test_a_resumed_search_gets_state_and_journal_that_belong_together(tmp_path: Path, journal: Path) -> None:
    snapshots, staging, tune = Snapshots(tmp_path / "snapshots", journal), tmp_path / "staging", tmp_path / "tune"
    save(staging, 1, "old")
    assert snapshots.take(staging)
    journal.write_bytes(journal.read_bytes() + b"two\n")
    save(staging, 2, "new")
    assert snapshots.take(staging) and not snapshots.take(staging), "Tune has not saved since"
    journal.write_bytes(journal.read_bytes() + b"three, which no state knows\n")
    save(tune, 3, "of the killed process")
    (tmp_path / "optuna.journal.lock").write_text("")
    assert Snapshots(tmp_path / "snapshots", journal).restore(tune)
    assert journal.read_bytes() == b"one\ntwo\n"
    assert {path.name: path.read_text() for path in tune.iterdir()} == {
        name: f"{content} new" for name, content in FILES.items()
    }
    assert not (tmp_path / "optuna.journal.lock").exists()


def test_two_are_kept_and_an_unfinished_one_is_none(tmp_path: Path, journal: Path) -> None:
    snapshots, staging = Snapshots(tmp_path / "snapshots", journal), tmp_path / "staging"
    for second in range(1, 5):
        save(staging, second, str(second))
        snapshots.take(staging)
    assert sorted(path.name for path in (tmp_path / "snapshots").iterdir()) == ["000003", "000004"]
    (tmp_path / "snapshots" / ".000005.part").mkdir()
    assert snapshots.restore(tmp_path / "tune")
    assert (tmp_path / "tune" / "searcher-state-1.pkl").read_text() == "searcher 4"


def test_without_a_snapshot_the_search_starts_from_nothing(tmp_path: Path, journal: Path) -> None:
    save(tmp_path / "tune", 1, "old")
    assert not Snapshots(tmp_path / "snapshots", journal).restore(tmp_path / "tune")
    assert not journal.exists() and not list((tmp_path / "tune").iterdir())
