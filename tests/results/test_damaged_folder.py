"""Each file of a results folder is removed, halved, emptied or has a bit flipped: readers give a result or an error."""

import contextlib
import io
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest

from tests.results.finished import BEST, EPOCHS, finished_search
from tune_sa2va import status
from tune_sa2va.data.known_images import read_content
from tune_sa2va.data.split_file import read_names
from tune_sa2va.errors import UserError
from tune_sa2va.evaluate.tuned_model import find_tuned
from tune_sa2va.export.checkpoints import best_checkpoint, copy_checked
from tune_sa2va.preflight.resumption import examine_results
from tune_sa2va.report.gallery import gallery
from tune_sa2va.report.load import load_run
from tune_sa2va.report.test_images import TestImages
from tune_sa2va.results.load import load_results
from tune_sa2va.results.mending import find_mends
from tune_sa2va.results.records import RunRecords, read_epochs, read_trials
from tune_sa2va.results.settings import SearchSettings
from tune_sa2va.results.snapshots import Snapshots


def flipped(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


DAMAGES: dict[str, Callable[[bytes], bytes | None]] = {
    "removed": lambda content: None,
    "halved": lambda content: content[: len(content) // 2],
    "emptied": lambda content: b"",
    "flipped": flipped,
}


def look(run: Path) -> object:
    view, pulse, picture = status._look(run)
    return picture, status.as_values(view, pulse, view.last_event_at)  # type: ignore[arg-type]


def report(run: Path) -> object:
    """What a report reads to make its figures and its page."""
    found = load_run(run, show_names=False)
    return gallery(found, TestImages.of(found))


def export(run: Path) -> object:
    to = run.parent / "to"
    to.mkdir(exist_ok=True)
    return copy_checked(best_checkpoint(run), to)


def evaluate(run: Path) -> object:
    return find_tuned("tiny", run / "best_adapter", any_base=False), read_content(run / "best_adapter")


def resume(run: Path) -> object:
    """All that `--resume` does before Ray starts, and what it passes to Tune and the records."""
    settings = SearchSettings.load(run)
    examine_results(settings)
    for mend in find_mends(settings):
        mend.make()
    assert Snapshots(run).restore(settings.tune_folder)
    assert [path.read_text() for path in settings.tune_folder.glob("searcher-state*")] != []
    return RunRecords.open(run).trials()


READERS = {
    "status": look, "report": report, "load_results": load_results, "export": export, "evaluate": evaluate,
    "resume": resume,
}  # fmt: skip


def readers_of(file: str) -> set[str]:
    """The readers that may open it; `test_who_opens_what` checks that the others do not."""
    if file.startswith("ray/"):
        return {"export", "resume"}
    return READERS.keys() - (set() if file.startswith("best_adapter/") else {"evaluate"})


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return finished_search(tmp_path_factory.mktemp("finished"))


def content_of(run: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}


@contextlib.contextmanager
def damaged(run: Path, file: Path, damage: Callable[[bytes], bytes | None]) -> Iterator[None]:
    """Restores the folder after the block."""
    before = content_of(run)
    content = damage(before[file])
    if content is None:
        file.unlink()
    else:
        file.write_bytes(content)
    try:
        yield
    finally:
        for path in content_of(run).keys() - before.keys():
            path.unlink()
        for path, content in before.items():
            if not path.exists() or path.read_bytes() != content:
                path.write_bytes(content)


def ending(reader: Callable[[Path], object], run: Path) -> str:
    """The error message of a reader; empty if it succeeds."""
    try:
        reader(run)
    except UserError as error:
        return str(error)
    return ""


def check(run: Path, files: list[Path], damage: str) -> None:
    for file in files:
        with damaged(run, file, DAMAGES[damage]):
            for name in sorted(readers_of(file.relative_to(run).as_posix())):
                sentence = ending(READERS[name], run)
                if sentence:
                    assert "\n" not in sentence and sentence.endswith("."), (file, name, sentence)
                    assert file.name in sentence or file.parent.name in sentence, (file, name, sentence)


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_quarter_of_the_files_damaged_in_each_way(run: Path, damage: str) -> None:
    """Each file is damaged in one way; the test below takes a minute for all ways."""
    files = sorted(content_of(run))
    assert len(files) > 40
    check(run, files[list(DAMAGES).index(damage) :: len(DAMAGES)], damage)


@pytest.mark.slow  # a minute
@pytest.mark.parametrize("damage", DAMAGES)
def test_every_file_damaged_in_every_way(run: Path, damage: str) -> None:
    check(run, sorted(content_of(run)), damage)


def test_who_opens_what(run: Path) -> None:
    """Readers that are left out above give the same results without Ray's folder and without the exported adapter."""
    here = {name: ending(READERS[name], run) for name in READERS}
    assert here == dict.fromkeys(READERS, "")
    for folder, untouched in (("ray", ("status", "report", "load_results", "evaluate")), ("best_adapter", ("export",))):
        (run / folder).rename(run.parent / folder)
        try:
            assert [ending(READERS[name], run) for name in untouched] == [""] * len(untouched)
        finally:
            (run.parent / folder).rename(run / folder)
    hidden = [path for path in run.iterdir() if path.name != "best_adapter"]
    (run.parent / "hidden").mkdir()
    for path in hidden:
        path.rename(run.parent / "hidden" / path.name)
    try:
        assert ending(evaluate, run) == ""
    finally:
        for path in hidden:
            (run.parent / "hidden" / path.name).rename(path)


MENDED = ("trials.parquet", "epochs.parquet", "names.parquet", "split.parquet", "content.parquet", "optuna.journal")


@pytest.mark.parametrize("damage", ["removed", "halved", "emptied"])
@pytest.mark.parametrize("name", [*MENDED, f"val_counts/{BEST}.parquet"])
def test_what_can_be_made_again_is_as_it_was(run: Path, name: str, damage: str) -> None:
    before = content_of(run)[run / name]
    rows = {read.__name__: read(run) for read in (read_trials, read_epochs)}
    with damaged(run, run / name, DAMAGES[damage]):
        said = [mend.words for mend in find_mends(SearchSettings.load(run))]
        if name == "content.parquet" and damage == "removed":
            assert said == [], "an older search had none"
            return
        assert ending(resume, run) == ""
        if name != "optuna.journal":
            (words,) = said
            assert words.startswith(f"{run / name}: ") and words.endswith(".") and "\n" not in words
        if name == "names.parquet":  # groups are then named by their codes
            kept = [{**row, "group": ""} for row in read_names(run)]
            (run / name).write_bytes(before)
            assert kept == [{**row, "group": ""} for row in read_names(run)]
        elif name.endswith(".parquet"):
            assert pq.read_table(run / name).equals(pq.read_table(io.BytesIO(before)))
        else:
            assert (run / name).read_bytes() == before
        for read in (read_trials, read_epochs):
            pd.testing.assert_frame_equal(read(run), rows[read.__name__])


def test_names_are_not_made_again_of_other_images(run: Path) -> None:
    image = next((run.parent / "data" / "images").iterdir())
    before = image.read_bytes()
    with damaged(run, run / "names.parquet", DAMAGES["removed"]):
        image.unlink()
        try:
            assert "names.parquet: cannot be read" in ending(resume, run)
        finally:
            image.write_bytes(before)


def test_an_epoch_of_a_trial_whose_row_was_lost_is_left_out(run: Path) -> None:
    """A table of the last snapshot may be older than the other one."""
    with damaged(run, run / "trials.parquet", DAMAGES["removed"]):
        (run / "trials.parquet").write_bytes((run / "ray/snapshots/000001/trials.parquet").read_bytes())
        records = RunRecords.open(run)
        assert list(records.trials()["trial_id"]) == ["0000"]
        assert len(records.epochs()) == EPOCHS
