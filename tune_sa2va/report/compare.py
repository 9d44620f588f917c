"""What the page of two searches says."""

from typing import Any

import plotly.graph_objects as go

from tune_sa2va.report.figure import BLUE, ORANGE, Figure, frame, plain
from tune_sa2va.report.load import Run
from tune_sa2va.report.summary import comparison_row, interval_text, means_table, settings_rows
from tune_sa2va.report.test_part import MEASURES, WINNER, Comparison, compare_values, means, with_overlap
from tune_sa2va.report.words import count, duration, setting, signed

_OF_A_SEARCH = ("name", "out", "feature_cache")


def compare_figures(a: Run, b: Run) -> list[Figure]:
    """Best so far, by lane time."""
    traces = [_best_so_far(a, f"A: {a.settings.name}", ORANGE), _best_so_far(b, f"B: {b.settings.name}", BLUE)]
    plot = frame(traces, height=380)
    plot.update_xaxes(title="lane time, minutes", rangemode="tozero")
    plot.update_yaxes(title="best Val Dice so far")
    return [Figure(key="best_so_far", title="Best Val Dice by lane time", reading=_time_reading(a, b), plot=plot)]


def compare_values_of_page(a: Run, b: Run) -> dict[str, Any]:
    """What the template `compare.html` asks for, figures apart."""
    comparisons = paired_winners(a, b)
    settings_a, settings_b = dict(settings_rows(a)), dict(settings_rows(b))
    differing = [
        (key, settings_a.get(key, "–"), settings_b.get(key, "–"))
        for key in settings_a | settings_b
        if settings_a.get(key) != settings_b.get(key) and key not in _OF_A_SEARCH
    ]
    paths = list({**a.settings.search_space.dimensions, **b.settings.search_space.dimensions})
    winner_a, winner_b = a.winner or {}, b.winner or {}
    return {
        "title": f"{a.settings.name} (A) and {b.settings.name} (B)",
        "answer": _answer(a, b, comparisons),
        "table": _table(a, b),
        "comparisons": [comparison_row(c) for c in comparisons],
        "settings": differing,
        "config": [(p, setting(winner_a.get(p, "–")), setting(winner_b.get(p, "–"))) for p in paths],
    }


def paired_winners(a: Run, b: Run) -> list[Comparison]:
    """B's winner less A's on the same test images; empty where the test parts are not the same images."""
    if a.test_scores is None or b.test_scores is None:
        return []
    key = ["image_code", "text"]
    rows_a, rows_b = (with_overlap(s[s["row"] == WINNER]).set_index(key) for s in (a.test_scores, b.test_scores))
    if rows_a.empty or set(rows_a.index) != set(rows_b.index):
        return []
    rows_b = rows_b.loc[rows_a.index]
    return [
        compare_values(m, f"A: {a.settings.name}", rows_b[m.column].tolist(), rows_a[m.column].tolist())
        for m in MEASURES
    ]


def _answer(a: Run, b: Run, comparisons: list[Comparison]) -> list[str]:
    if not comparisons:
        return [
            "The two test parts are not the same images, or not scored: means stand side by side, nothing is paired."
        ]
    dice = comparisons[0]
    words = {"better": "is better than", "worse": "is worse than", "tie": "ties with"}[dice.verdict]
    interval = interval_text(dice.difference, 3, sign=True)
    return [
        f"B's winner {words} A's on the same {count(dice.difference.num_values, 'test image')}: Dice "
        f"{signed(dice.difference.mean)} {interval}, Wilcoxon p = {dice.p_value:.2g}."
    ]


def _table(a: Run, b: Run) -> dict[str, Any] | None:
    if a.test_scores is None or b.test_scores is None:
        return None
    rows = {
        f"{letter}: {label}": cells
        for letter, scores in (("A", a.test_scores), ("B", b.test_scores))
        for label, cells in means(with_overlap(scores)).items()
    }
    return means_table(rows)


def _best_so_far(run: Run, name: str, colour: str) -> go.Scatter:
    rows = run.epochs.sort_values("ended_at")
    return go.Scatter(
        x=(rows["seconds"].cumsum() / 60).tolist(),
        y=rows["val_dice"].cummax().tolist(),
        name=plain(name),
        mode="lines",
        line={"color": colour, "width": 2.5, "shape": "hv"},
    )


def _time_reading(a: Run, b: Run) -> str:
    said = []
    for letter, run in (("A", a), ("B", b)):
        used = float(run.epochs["seconds"].sum())
        if run.scored.empty:
            said.append(f"{letter} has no scored trial.")
            continue
        best = run.scored["best_val_dice"].max()
        said.append(
            f"{letter} reached {best:.3f} with {count(len(run.trials), 'trial')} in {duration(used)} of lane time."
        )
    return " ".join(said)
