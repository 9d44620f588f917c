"""The note of how many folds of an epoch are done."""

from pathlib import Path

from tune_sa2va.results.fold_note import forget_folds, note_folds_done, read_folds_done


def test_it_is_of_one_epoch_and_goes_with_it(tmp_path: Path) -> None:
    assert read_folds_done(tmp_path, "0000", 1) == 0, "no fold is done yet"
    note_folds_done(tmp_path, "0000", 2, 3)
    assert read_folds_done(tmp_path, "0000", 2) == 3
    assert read_folds_done(tmp_path, "0000", 3) == 0, "a note that a kill left says nothing of the next epoch"
    forget_folds(tmp_path, "0000")
    assert read_folds_done(tmp_path, "0000", 2) == 0


def test_one_that_is_being_written_is_none(tmp_path: Path) -> None:
    note_folds_done(tmp_path, "0000", 2, 3)
    (note,) = (tmp_path / "0000").iterdir()
    note.write_text('{"epoch": 2')
    assert read_folds_done(tmp_path, "0000", 2) == 0
    assert note.name.endswith(".part"), "copies at --storage leave it out"
