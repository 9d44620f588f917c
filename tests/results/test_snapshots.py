"""Snapshots of Tune's state: the newest undamaged one is restored, with the journal cut to its length at that time."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tune_sa2va.config import RECIPE
from tune_sa2va.errors import ResultsError
from tune_sa2va.results.records import RunRecords, TrialState
from tune_sa2va.results.snapshots import Snapshots

FILES = {
    "experiment_state-1.json": "state",
    "search_gen_state-1.json": "generator",
    "searcher-state-1.pkl": "searcher",
    "callback-states-1.pkl": "callbacks",
}


def save(staging: Path, second: int, mark: str) -> None:
    """Writes the files that Tune saves."""
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
    snapshots, staging, tune = Snapshots(tmp_path), tmp_path / "staging", tmp_path / "tune"
    save(staging, 1, "old")
    assert snapshots.take(staging)
    journal.write_bytes(journal.read_bytes() + b"two\n")
    save(staging, 2, "new")
    assert snapshots.take(staging) and not snapshots.take(staging), "Tune has not saved since"
    journal.write_bytes(journal.read_bytes() + b"three, which no state knows\n")
    save(tune, 3, "of the killed process")
    (tmp_path / "optuna.journal.lock").write_text("")
    assert Snapshots(tmp_path).restore(tune)
    assert journal.read_bytes() == b"one\ntwo\n"
    assert {path.name: path.read_text() for path in tune.iterdir()} == {
        name: f"{content} new" for name, content in FILES.items()
    }
    assert not (tmp_path / "optuna.journal.lock").exists()


def test_two_are_kept_and_an_unfinished_one_is_none(tmp_path: Path, journal: Path) -> None:
    snapshots, staging, folder = Snapshots(tmp_path), tmp_path / "staging", tmp_path / "ray" / "snapshots"
    for second in range(1, 5):
        save(staging, second, str(second))
        snapshots.take(staging)
    assert sorted(path.name for path in folder.iterdir()) == ["000003", "000004", "optuna.journal"]
    (folder / ".000005.part").mkdir()
    assert snapshots.restore(tmp_path / "tune")
    assert (tmp_path / "tune" / "searcher-state-1.pkl").read_text() == "searcher 4"


def test_without_a_snapshot_the_search_starts_from_nothing(tmp_path: Path, journal: Path) -> None:
    save(tmp_path / "tune", 1, "old")
    assert not Snapshots(tmp_path).restore(tmp_path / "tune")
    assert not journal.exists() and not list((tmp_path / "tune").iterdir())


@pytest.fixture
def two(tmp_path: Path, journal: Path) -> Path:
    """The snapshots of a search that was killed after two of them and one more line in the journal."""
    snapshots, staging = Snapshots(tmp_path), tmp_path / "staging"
    save(staging, 1, "old")
    snapshots.take(staging)
    journal.write_bytes(b"one\ntwo\n")
    save(staging, 2, "new")
    snapshots.take(staging)
    journal.write_bytes(b"one\ntwo\nthree\n")
    return tmp_path / "ray" / "snapshots"


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


DAMAGES: dict[str, Callable[[Path], object]] = {
    "gone": Path.unlink,
    "halved": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "empty": lambda path: path.write_bytes(b""),
    "flipped": flip,
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
@pytest.mark.parametrize("name", [*FILES, "snapshot.json"])
def test_the_older_serves_where_the_newer_is_damaged(
    two: Path, journal: Path, tmp_path: Path, name: str, damage: Callable[[Path], object]
) -> None:
    damage(two / "000002" / name)
    assert Snapshots(tmp_path).restore(tmp_path / "tune")
    assert (tmp_path / "tune" / "experiment_state-1.json").read_text() == "state old"
    assert journal.read_bytes() == b"one\n"


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_journal_is_taken_from_its_copy(
    two: Path, journal: Path, tmp_path: Path, damage: Callable[[Path], object]
) -> None:
    damage(journal)
    assert Snapshots(tmp_path).restore(tmp_path / "tune")
    assert (tmp_path / "tune" / "experiment_state-1.json").read_text() == "state new"
    assert journal.read_bytes() == b"one\ntwo\n"


def test_the_copy_of_the_journal_goes_on_after_a_restart(two: Path, journal: Path, tmp_path: Path) -> None:
    again = Snapshots(tmp_path)
    again.restore(tmp_path / "tune")
    for second, line in ((3, b"2b\n"), (4, b"2c\n")):
        journal.write_bytes(journal.read_bytes() + line)
        save(tmp_path / "staging", second, line.decode())
        again.take(tmp_path / "staging")
    assert (two / "optuna.journal").read_bytes() == journal.read_bytes() == b"one\ntwo\n2b\n2c\n"


def test_without_a_whole_one_nothing_is_touched_and_the_sentence_says_what_is_left(
    two: Path, journal: Path, tmp_path: Path
) -> None:
    flip(two / "000001" / "searcher-state-1.pkl")
    (two / "000002" / "snapshot.json").unlink()
    with pytest.raises(ResultsError, match=r"000002/snapshot.json is damaged; 000001/searcher-.+ --warm-start") as said:
        Snapshots(tmp_path).restore(tmp_path / "tune")
    assert "\n" not in str(said.value) and journal.read_bytes() == b"one\ntwo\nthree\n"


def test_a_search_whose_trials_have_ended_does_not_start_from_nothing(tmp_path: Path, journal: Path) -> None:
    records = RunRecords.open(tmp_path)
    records.trial_started("0000", 0, RECIPE, "lane 1")
    assert Snapshots(tmp_path).newest() is None, "killed before the first snapshot"
    records.trial_ended("0000", TrialState.FAILED, "no reason")
    with pytest.raises(ResultsError, match="there is none, though trials have ended"):
        Snapshots(tmp_path).restore(tmp_path / "tune")
    assert journal.exists()


def test_snapshots_of_before_checksums_are_taken_as_they_are(two: Path, tmp_path: Path) -> None:
    (two / "000002" / "snapshot.json").write_text(json.dumps({"journal_bytes": 4}))
    found = Snapshots(tmp_path).newest()
    assert found is not None and found.folder.name == "000002"
    (two / "000002" / "snapshot.json").write_text(json.dumps({"journal_bytes": 4000}))
    found = Snapshots(tmp_path).newest()
    assert found is not None and found.folder.name == "000001"
