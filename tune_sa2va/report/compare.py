"""The content of the page that compares two searches, A and B."""

from typing import Any

import plotly.graph_objects as go

from tune_sa2va.evaluate.paired import Comparison, sentence
from tune_sa2va.report.figure import BLUE, ORANGE, Figure, frame, plain
from tune_sa2va.report.load import Run
from tune_sa2va.report.summary import comparison_rows, interval_text, made_now, means_table, number_of_p, settings_rows
from tune_sa2va.results.records import lane_seconds
from tune_sa2va.results.test_scores import DICE, MEASURES, WINNER, LockedPart, compare_measure, pair
from tune_sa2va.words import count, duration, setting, signed

_OF_A_SEARCH = ("name", "out", "feature_cache")


def compare_figures(a: Run, b: Run) -> list[Figure]:
    """The only figure of the page: best Val Dice so far by lane time, for both searches."""
    traces = [_best_so_far(a, f"A: {a.settings.name}", ORANGE), _best_so_far(b, f"B: {b.settings.name}", BLUE)]
    plot = frame(traces, height=380)
    plot.update_xaxes(title="lane time, minutes", rangemode="tozero")
    plot.update_yaxes(title="best Val Dice so far")
    return [Figure(key="best_so_far", title="Best Val Dice by lane time", reading=_time_reading(a, b), plot=plot)]


def compare_values_of_page(a: Run, b: Run) -> dict[str, Any]:
    """The values for the template `compare.html`, without the figures."""
    comparisons = paired_winners(a, b)
    settings_a, settings_b = dict(settings_rows(a)), dict(settings_rows(b))
    differing = [
        (key, settings_a.get(key, "–"), settings_b.get(key, "–"))
        for key in settings_a | settings_b
        if settings_a.get(key) != settings_b.get(key) and key not in _OF_A_SEARCH
    ]
    paths = list({**a.settings.search_space.dimensions, **b.settings.search_space.dimensions})
    winner_a, winner_b = (_counting(run) for run in (a, b))
    return {
        "made": made_now(),
        "remake": f"python -m tune_sa2va.report --compare {a.names.path(str(a.folder))} {b.names.path(str(b.folder))}",
        "title": f"{a.settings.name} (A) and {b.settings.name} (B)",
        "answer": _answer(comparisons),
        "table": _table(a, b),
        "comparisons": comparison_rows(comparisons) if comparisons else [],
        "settings": differing,
        "config": [(p, setting(winner_a.get(p, "–")), setting(winner_b.get(p, "–"))) for p in paths],
    }


def paired_winners(a: Run, b: Run) -> dict[str, Comparison]:
    """Measure's column -> comparison of B's winner with A's on the same test images.

    Empty if the test images differ or one search has not scored them.
    """
    if a.locked is None or b.locked is None:
        return {}
    rows_a, rows_b = (locked.scores[locked.scores["row"] == WINNER] for locked in (a.locked, b.locked))
    rows = pair(rows_b, rows_a)
    if rows.empty or not len(rows) == len(rows_a) == len(rows_b):
        return {}
    return {m.column: compare_measure(m, rows) for m in MEASURES}


def _counting(run: Run) -> dict[str, Any]:
    """The winner's values, without those of searched fields that do not count in it; empty without a winner."""
    if run.winner is None:
        return {}
    space = run.settings.search_space
    idle = set(space.dimensions) - set(space.counting(run.winner))
    return {str(path): value for path, value in run.winner.items() if path not in idle}


def _answer(comparisons: dict[str, Comparison]) -> list[str]:
    if not comparisons:
        return [
            "The test parts have different images or are not scored, so means are shown side by side but not compared."
        ]
    dice = comparisons[DICE.column]
    said = sentence({"A's winner": dice}, subject="B's winner")
    return [
        f"On the same {count(dice.difference.num_values, 'test image')}: {said} Dice {signed(dice.difference.mean)} "
        f"{interval_text(dice.difference, 3, sign=True)}, signed-rank p over groups = {number_of_p(dice.p_value)}."
    ]


def _table(a: Run, b: Run) -> dict[str, Any] | None:
    if a.locked is None or b.locked is None:
        return None
    of_a, of_b = a.locked.means, b.locked.means
    shared = {label for label in of_a.keys() & of_b.keys() if _same(a.locked, b.locked, label)}
    both = {f"A and B: {label}": cells for label, cells in of_a.items() if label in shared}
    own = {
        f"{letter}: {label}": cells
        for letter, rows in (("A", of_a), ("B", of_b))
        for label, cells in rows.items()
        if label not in shared
    }
    return means_table(both | own)


def _same(a: LockedPart, b: LockedPart, label: str) -> bool:
    """Whether a row has the same scores in both searches, as that of the untuned base has on the same images."""
    keys = ["image_code", "text"]
    one, other = (
        locked.scores[locked.scores["row"] == label].drop(columns=["row", "checkpoint", "group_code"]).sort_values(keys)
        for locked in (a, b)
    )
    return one.reset_index(drop=True).equals(other.reset_index(drop=True))


def _best_so_far(run: Run, name: str, colour: str) -> go.Scatter:
    rows = run.epochs.sort_values("ended_at")
    return go.Scatter(
        x=(lane_seconds(rows).cumsum() / 60).tolist(),
        y=rows["val_dice"].cummax().tolist(),
        name=plain(name),
        mode="lines",
        line={"color": colour, "width": 2.5, "shape": "hv"},
    )


def _time_reading(a: Run, b: Run) -> str:
    said = []
    for letter, run in (("A", a), ("B", b)):
        used = float(lane_seconds(run.epochs).sum())
        if run.scored.empty:
            said.append(f"{letter} has no scored trial.")
            continue
        best = run.scored["best_val_dice"].max()
        said.append(
            f"{letter} reached {best:.3f} with {count(len(run.trials), 'trial')} in {duration(used)} of lane time."
        )
    return " ".join(said)
