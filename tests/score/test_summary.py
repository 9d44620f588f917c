"""The text for the terminal and summary.txt at the end of a search."""

from dataclasses import replace
from pathlib import Path

import pytest

from tests.results.test_test_scores import write_scores
from tests.score.test_choice import Searched
from tune_sa2va.results.test_scores import RECIPE, UNTUNED, read_locked_part
from tune_sa2va.score.choice import choose
from tune_sa2va.score.summary import summary


def said(search: Searched, rows: tuple[str, ...], *, patients: int = 8, openings: int = 1) -> str:
    """The summary on one line. rows: the models in the test part, each better than the one before."""
    folder = search.settings.folder
    tp = {row: [40 + 20 * place + i for i in range(8)] for place, row in enumerate(rows)}
    write_scores(folder, tp, [f"grp-{i % patients}" for i in range(8)], openings=openings)
    locked = read_locked_part(folder)
    assert locked is not None
    return " ".join(summary(search.settings, choose(search.settings, None), locked).split())


def test_the_recipe_itself_won_only_where_the_winner_aims_at_it(tmp_path: Path) -> None:
    search = Searched(tmp_path)
    search.trial(0, 0.7, micro_batch=7)
    won = said(search, (UNTUNED, "winner"))
    assert "The recipe itself won. The winner is better than the untuned base by Dice (paired, 8 patients" in won
    search.trial(1, 0.8)
    lost = said(search, (UNTUNED, RECIPE, "winner"))
    assert "recipe itself" not in lost and "is better than the recipe and is better than the untuned base" in lost


def test_a_recipe_without_checkpoints_is_said(tmp_path: Path) -> None:
    search = Searched(tmp_path)
    search.trial(0, 0.9, on_disk=())
    search.trial(1, 0.8)
    text = said(search, (UNTUNED, "winner"))
    assert "recipe itself" not in text and "The recipe was not scored: its checkpoint is not on the disk." in text
    assert "as good or better by Val Dice, but have no checkpoint on the disk: 0000." in text


@pytest.mark.parametrize(("openings", "words"), [(1, "scored once"), (3, "scored 3 times in all")])
def test_few_patients_and_how_often_the_test_part_was_opened(tmp_path: Path, openings: int, words: str) -> None:
    search = Searched(tmp_path)
    search.trial(0, 0.5)
    search.trial(1, 0.8)
    text = said(search, (UNTUNED, RECIPE, "winner"), patients=4, openings=openings)
    assert f"Test part, {words}: 8 images of 4 groups" in text
    assert "Too few patients to say whether the winner is better than the recipe or the untuned base: 4, and" in text


def test_the_table_fits_80_columns_and_the_winner_has_one_name(tmp_path: Path) -> None:
    search = Searched(tmp_path)
    search.trial(0, 0.5)
    search.trial(1, 0.8)
    tp = {UNTUNED: list(range(40, 48)), RECIPE: list(range(60, 68)), "winner": list(range(70, 78))}
    write_scores(search.settings.folder, tp, [f"grp-{i % 3}" for i in range(8)])
    locked = read_locked_part(search.settings.folder)
    assert locked is not None
    chosen = choose(search.settings, None)
    lines = summary(search.settings, chosen, locked).splitlines()
    end = next(place for place, line in enumerate(lines) if line.startswith("Precision"))
    assert max(map(len, lines[: end + 1])) <= 80
    assert all("[" in line for line in lines if line.startswith(("Dice", "IoU", "Recall", "Precision")))
    rerun = replace(chosen, winner=replace(chosen.winner, trial_id="0001-seed1"))
    said = summary(search.settings, rerun, locked)
    assert "Winner: 0001-seed1 (trial 0001 again with seed 1), " in said
    assert "Winner: trial 0001, " in "\n".join(lines)
