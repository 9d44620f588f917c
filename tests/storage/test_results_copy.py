"""The copy of a results folder: wherever a pass is interrupted, a complete state can be fetched."""

import errno
import os
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import NoReturn

import pytest

from tests.storage.scene import NAME, CutOffError, Running, Storage, contents, fetched, one_pass
from tune_sa2va.durable import folder_bytes
from tune_sa2va.errors import ResultsError
from tune_sa2va.storage.fetch import fetch
from tune_sa2va.storage.manifest import manifest_names
from tune_sa2va.storage.results_copy import ResultsCopy


@pytest.fixture
def running(tmp_path: Path) -> Running:
    running = Running(tmp_path / "results" / NAME)
    running.step()
    return running


def test_a_copy_is_the_folder_and_can_be_browsed(running: Running, tmp_path: Path) -> None:
    copy, there = ResultsCopy(running.folder, Storage(tmp_path / "bucket")), tmp_path / "bucket" / NAME
    for _ in range(5):
        one_pass(copy)
        shown = {path: text for path, text in contents(there).items() if not path.startswith("ray/copy/")}
        assert shown == contents(running.folder), "and nothing is left of older states"
        assert len(list((there / "ray" / "copy").glob("*.json"))) == 1
        running.step()
    one_pass(copy)
    assert fetched(tmp_path / "bucket", tmp_path / "out") == contents(running.folder)
    assert not (running.folder / "ray" / ".copying").exists()


@pytest.mark.parametrize("restarts", [False, True], ids=["the same process", "another process"])
@pytest.mark.parametrize("passes", [0, 1, 2, 3])
def test_a_pass_that_is_cut_off_anywhere_leaves_a_whole_state(
    passes: int, restarts: bool, running: Running, tmp_path: Path
) -> None:
    """After `passes` complete ones, the next is interrupted in its k-th operation, for all k; then one succeeds."""
    copy = ResultsCopy(running.folder, Storage(tmp_path / "before"))
    for _ in range(passes):
        one_pass(copy)
        running.step()
    before = fetched(tmp_path / "before", tmp_path / "out") if passes else None
    saved = tmp_path / "saved"
    shutil.copytree(running.folder, saved, copy_function=_copy_with_times)
    (tmp_path / "before").mkdir(exist_ok=True)

    cut_at, was_cut = 0, True
    while was_cut:
        cut_at += 1
        bucket, results = tmp_path / f"bucket-{cut_at}", tmp_path / f"results-{cut_at}" / NAME
        shutil.copytree(tmp_path / "before", bucket)
        shutil.copytree(saved, results, copy_function=_copy_with_times)
        storage = Storage(bucket)
        copy = ResultsCopy(results, storage)
        storage.cut_at = cut_at
        try:
            one_pass(copy)
            was_cut = False
        except CutOffError:
            pass
        after = contents(results)
        if was_cut and before is None:
            _whole_or_none(bucket, tmp_path / "out", after)
        else:
            assert fetched(bucket, tmp_path / "out") in ((before, after) if was_cut else (after,)), cut_at

        storage.cut_at = None
        running.folder = results
        running.step()
        one_pass(ResultsCopy(results, storage) if restarts else copy)
        assert fetched(bucket, tmp_path / "out") == contents(results), cut_at
        running.epoch -= 1
    assert cut_at > 10, "a pass has some operations"


def test_two_passes_in_a_row_may_be_cut_off(running: Running, tmp_path: Path) -> None:
    """The partial manifest of the first is not mistaken for that of another process."""
    storage = Storage(tmp_path / "bucket")
    copy = ResultsCopy(running.folder, storage)
    one_pass(copy)
    before = contents(running.folder)
    for leaves_half in (True, False):
        running.step()
        with pytest.raises(CutOffError):
            _bring_cut_at_manifest(copy, storage, leaves_half=leaves_half)
        assert fetched(tmp_path / "bucket", tmp_path / "out") == before
    one_pass(ResultsCopy(running.folder, storage))
    assert fetched(tmp_path / "bucket", tmp_path / "out") == contents(running.folder)


def test_only_what_changed_is_written(running: Running, tmp_path: Path) -> None:
    storage = Storage(tmp_path / "bucket")
    copy = ResultsCopy(running.folder, storage)
    one_pass(copy)
    storage.written.clear()
    one_pass(copy)
    assert storage.written == []
    one_pass(ResultsCopy(running.folder, storage))
    assert storage.written == [], "another process compares checksums"

    running.lane_goes_on()
    one_pass(copy)
    written = [path for path in storage.written if not path.endswith(".json") or "checkpoints" in path]
    checkpoint = f"ray/checkpoints/0000/checkpoint_{running.epoch:04d}"
    assert sorted(written) == [f"{checkpoint}/optimizer.safetensors", f"{checkpoint}/state.json"]

    storage.written.clear()
    running.is_recorded()
    one_pass(copy)
    assert not any("checkpoints/" in path or "search.yaml" in path for path in storage.written)
    assert sum("trials.parquet" in path for path in storage.written) == 1


def test_what_happens_after_the_pin_is_not_in_the_copy(running: Running, tmp_path: Path) -> None:
    """Files are replaced, grown and deleted during a pass."""
    copy = ResultsCopy(running.folder, Storage(tmp_path / "bucket"))
    frozen, before = copy.freeze(), contents(running.folder)
    used = folder_bytes(running.folder)
    for _ in range(3):
        running.step()
    copy.sync(frozen)
    assert fetched(tmp_path / "bucket", tmp_path / "out") == before
    assert used < 2 * sum(map(len, before.values())), "links to a file take no room"


def test_a_disk_without_links(running: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def link(*_: object) -> NoReturn:
        raise OSError(errno.EPERM, "no links here")

    monkeypatch.setattr(os, "link", link)
    copy = ResultsCopy(running.folder, Storage(tmp_path / "bucket"))
    frozen, before = copy.freeze(), contents(running.folder)
    running.step()
    copy.sync(frozen)
    assert fetched(tmp_path / "bucket", tmp_path / "out") == before


def test_a_file_that_somebody_deleted_in_the_storage_is_written_again(running: Running, tmp_path: Path) -> None:
    copy = ResultsCopy(running.folder, Storage(tmp_path / "bucket"))
    one_pass(copy)
    (tmp_path / "bucket" / NAME / "search.yaml").unlink()
    with pytest.raises(OSError, match="the next pass looks at all of them"):
        one_pass(copy)
    one_pass(copy)
    assert fetched(tmp_path / "bucket", tmp_path / "out") == contents(running.folder)


def test_a_search_that_went_on_elsewhere_is_left_alone(running: Running, tmp_path: Path) -> None:
    one_pass(ResultsCopy(running.folder, Storage(tmp_path / "bucket")))
    elsewhere = Running(tmp_path / "elsewhere" / NAME)
    shutil.rmtree(elsewhere.folder)
    fetch(f"file://{tmp_path}/bucket/{NAME}", tmp_path / "elsewhere")
    elsewhere.epoch = running.epoch
    elsewhere.step()
    there = ResultsCopy(elsewhere.folder, Storage(tmp_path / "bucket"))
    there.check_ours()
    one_pass(there)
    here = ResultsCopy(running.folder, Storage(tmp_path / "bucket"))
    running.step()
    with pytest.raises(ResultsError, match=r"went on elsewhere\. Fetch that one by --resume file://.*/vessels"):
        here.check_ours()
    with pytest.raises(ResultsError, match="went on elsewhere"):
        one_pass(here)
    assert fetched(tmp_path / "bucket", tmp_path / "out") == contents(elsewhere.folder)


def _bring_cut_at_manifest(copy: ResultsCopy, storage: Storage, *, leaves_half: bool) -> None:
    """A pass that is interrupted while it writes its manifest, or right before."""
    write = storage.write

    def cut(path: str, content: Iterable[bytes]) -> None:
        if manifest_names([path]):
            if not leaves_half:
                raise CutOffError("cut off")
            storage.cut_at = storage.operations + 1
        write(path, content)

    storage.write = cut  # type: ignore[method-assign]
    try:
        one_pass(copy)
    finally:
        storage.write = write  # type: ignore[method-assign]
        storage.cut_at = None


def _whole_or_none(bucket: Path, out: Path, after: dict[str, str]) -> None:
    try:
        assert fetched(bucket, out) == after
    except ResultsError as error:
        assert "holds no copy of a search" in str(error)


def _copy_with_times(source: str, to: str) -> str:
    return str(shutil.copy2(source, to))
