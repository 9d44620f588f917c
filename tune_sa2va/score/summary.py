"""The text for the terminal and summary.txt at the end of a search: the table of the test part and what it means."""

import io

from rich.console import Console
from rich.table import Table
from rich.text import Text

from tune_sa2va.evaluate.bootstrap import Interval
from tune_sa2va.export import TrialCheckpoint
from tune_sa2va.printable import printable
from tune_sa2va.results.settings import SearchSettings
from tune_sa2va.results.test_scores import DICE, MEASURES, OVERLAP, RECIPE, UNTUNED, WINNER, LockedPart
from tune_sa2va.score.choice import Chosen
from tune_sa2va.space.rerun import called
from tune_sa2va.words import count

_SHOWN = [measure for measure in MEASURES if measure.column in OVERLAP]
_COLUMNS = 80
"""Width of a default terminal, and of a batch system's log."""
_CELL = len("0.728 [0.719, 0.744]")


def summary(settings: SearchSettings, chosen: Chosen, locked: LockedPart) -> str:
    """The table with one column per model, the verdict, and the winner's values. Sentences are not wrapped."""
    images, groups = locked.scores["image_code"].nunique(), locked.scores["group_code"].nunique()
    console = Console(width=_COLUMNS, record=True, file=io.StringIO(), highlight=False)
    title = f"Test part, scored {locked.opened}: {count(images, 'image')} of {count(groups, 'group')}."
    console.print(title, "Mean [95% bootstrap interval over groups]", sep="\n")
    console.print(_table(chosen, locked))
    said = (
        _conclusion(chosen, locked),
        f"Winner: {called(chosen.winner.trial_id)}, {_values(settings, chosen.winner)}",
        f"Adapter: {settings.folder / 'best_adapter'}",
    )
    for sentence in said:
        console.print(Text(sentence), soft_wrap=True)
    return console.export_text()


def _table(chosen: Chosen, locked: LockedPart) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    table.add_column("")
    for row in locked.means:
        table.add_column(row, min_width=_CELL)
    checkpoints = {UNTUNED: None, RECIPE: chosen.recipe, WINNER: chosen.winner}
    known = [checkpoints[row] for row in locked.means]
    table.add_row("epoch", *("" if one is None else str(one.epoch) for one in known))
    table.add_row("Val Dice", *("" if one is None else f"{one.val_dice:.3f}" for one in known))
    for measure in _SHOWN:
        table.add_row(measure.label, *(_cell(means[measure.column]) for means in locked.means.values()))
    if own := locked.means_at_own:
        table.add_row("own threshold", *(f"{own[row][0]:g}" if row in own else "" for row in locked.means))
        table.add_row("Dice there", *(_cell(own[row][1][DICE.column]) if row in own else "" for row in locked.means))
    of_texts = locked.of_texts
    for text in locked.texts if of_texts else ():
        table.add_row("")
        table.add_row(Text(printable(text)))
        scores = [of_texts[row][text] for row in locked.means]
        if any(one.num_absent for one in scores):
            table.add_row("absent in", *(one.absent_in_words for one in scores))
        for measure in _SHOWN:
            table.add_row(measure.label, *(_cell(one.means[measure.column]) for one in scores))
    return table


def _conclusion(chosen: Chosen, locked: LockedPart) -> str:
    said = [locked.verdict]
    if chosen.standing is not None:
        said.insert(0, chosen.standing.words)
    elif chosen.is_recipe:
        said.insert(0, "The recipe itself won.")
    if chosen.recipe is None:
        said.append("The recipe was not scored: its checkpoint is not on the disk.")
    if chosen.missing_better:
        missing = ", ".join(chosen.missing_better)
        said.append(f"These trials were as good or better by Val Dice, but have no checkpoint on the disk: {missing}.")
    return " ".join(said)


def _values(settings: SearchSettings, winner: TrialCheckpoint) -> str:
    values = winner.config.flat()
    return ", ".join(f"{path} = {values[path]:.3g}" if isinstance(values[path], float) else f"{path} = {values[path]}"
                     for path in settings.search_space.counting(values))  # fmt: skip


def _cell(interval: Interval) -> str:
    return f"{interval.mean:.3f} [{interval.low:.3f}, {interval.high:.3f}]"
