"""Copying during a search: the search never waits, and an error is reported once."""

import shutil
import threading
from pathlib import Path

import pytest

from tests.storage.scene import NAME, Running, Storage, contents, fetched
from tune_sa2va.storage import mirror as mirror_module
from tune_sa2va.storage.mirror import Mirror
from tune_sa2va.storage.results_copy import ResultsCopy


class Outage(Storage):
    """A storage that is unavailable for a while, or slow."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.is_away = False
        self.may_go_on = threading.Event()
        self.may_go_on.set()

    def sizes(self) -> dict[str, int]:
        assert self.may_go_on.wait(30)
        if self.is_away:
            raise OSError("no such host.\nsecond line")
        return super().sizes()


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mirror_module, "_PAUSE_S", 0.0)


def _settle(mirror: Mirror) -> None:
    assert mirror._pass is not None
    mirror._pass.join(30)


def test_an_outage_is_told_once_and_its_end_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    running, storage = Running(tmp_path / "results" / NAME), Outage(tmp_path / "bucket")
    mirror = Mirror(ResultsCopy(running.folder, storage))
    for is_away in (False, True, True, True, False, False):
        storage.is_away = is_away
        running.step()
        mirror.begin()
        _settle(mirror)
    mirror.begin()
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 2, said
    assert "is behind, the search goes on and tries again: no such host" in said[0] and "up to date again" in said[1]
    assert mirror.end() == ""
    assert fetched(tmp_path / "bucket", tmp_path / "out") == contents(running.folder)
    storage.is_away = True
    running.step()
    assert mirror.end() == "no such host"


def test_a_new_snapshot_alone_is_no_news_but_at_the_end(tmp_path: Path) -> None:
    running, storage = Running(tmp_path / "results" / NAME), Outage(tmp_path / "bucket")
    mirror = Mirror(ResultsCopy(running.folder, storage))
    running.step()
    mirror.begin()
    _settle(mirror)
    before = contents(running.folder)
    snapshots = running.folder / "ray" / "snapshots"
    shutil.copytree(snapshots / "000001", snapshots / "000002")
    mirror.begin()
    assert mirror._pass is None
    assert fetched(tmp_path / "bucket", tmp_path / "out") == before
    assert mirror.end() == ""
    assert fetched(tmp_path / "bucket", tmp_path / "out") == contents(running.folder) != before


def test_passes_keep_a_distance(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mirror_module, "_PAUSE_S", 60.0)
    running, storage = Running(tmp_path / "results" / NAME), Outage(tmp_path / "bucket")
    mirror = Mirror(ResultsCopy(running.folder, storage))
    running.step()
    mirror.begin()
    _settle(mirror)
    first = mirror._pass
    running.step()
    mirror.begin()
    assert mirror._pass is first
    assert mirror.end() == "", "the last one does not wait"
    assert fetched(tmp_path / "bucket", tmp_path / "out") == contents(running.folder)


def test_nobody_waits_and_two_passes_are_never_at_once(tmp_path: Path) -> None:
    running, storage = Running(tmp_path / "results" / NAME), Outage(tmp_path / "bucket")
    mirror = Mirror(ResultsCopy(running.folder, storage))
    storage.may_go_on.clear()
    running.step()
    mirror.begin()
    first = mirror._pass
    running.step()
    mirror.begin()
    assert mirror._pass is first
    storage.may_go_on.set()
    assert mirror.end() == ""
    assert fetched(tmp_path / "bucket", tmp_path / "out") == contents(running.folder)
