"""Plots gain against epochs: a point per rule, coloured by the share of searches that export worse than the recipe."""

from collections.abc import Sequence
from pathlib import Path

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from tune_sa2va.bench.replay.table import Row
from tune_sa2va.report.figure import Figure
from tune_sa2va.report.static import write_figures

_LINES = {
    "one split, best epoch, {} trials": {"dash": "dash", "color": "#b5651d"},
    "one split, last epoch, {} trials": {"dash": "solid", "color": "#1f77b4"},
    "folds, {} trials": {"dash": "dot", "color": "#444444"},
}
"""Rules that differ only in the number of trials -> the style of the line that joins them."""


def write_figure(folder: Path, rows: Sequence[Row]) -> str:
    """Draws `figures/gain_against_epochs`. Returns a sentence that says what was written, or why not."""
    recordings = list(dict.fromkeys(row.recording for row in rows))
    plot = make_subplots(rows=len(recordings), cols=1, subplot_titles=recordings, vertical_spacing=0.07)
    for place, recording in enumerate(recordings, start=1):
        mine = [row for row in rows if row.recording == recording]
        plot.add_trace(_points(mine, with_scale=place == 1), row=place, col=1)
        for rule, look in _LINES.items():
            start, end = rule.split("{}")
            along = sorted(
                (row for row in mine if row.rule.startswith(start) and row.rule.endswith(end)),
                key=lambda row: row.epochs,
            )
            trace = go.Scatter(
                x=[row.epochs for row in along], y=[row.gain for row in along], mode="lines", showlegend=place == 1,
                name=start.rstrip(", ") + ", more trials", line=look,
            )  # fmt: skip
            plot.add_trace(trace, row=place, col=1)
        plot.update_xaxes(type="log", title_text="epochs of all adapters", row=place, col=1)
        plot.update_yaxes(title_text="mean gain, Dice", row=place, col=1)
    plot.update_layout(height=330 * len(recordings), legend={"orientation": "h", "y": 1.06})
    figure = Figure(
        key="gain_against_epochs",
        title="What each rule gains, and what it costs",
        reading="Mean Dice of the export minus the recipe's on the locked part, over all searches of a rule.",
        plot=plot,
    )
    return write_figures(folder, [figure])


def _points(rows: Sequence[Row], *, with_scale: bool) -> go.Scatter:
    return go.Scatter(
        x=[row.epochs for row in rows],
        y=[row.gain for row in rows],
        error_y={"array": [row.gain_se for row in rows], "thickness": 1, "width": 0},
        mode="markers",
        text=[f"{row.rule}: worse {row.worse:.1%}" for row in rows],
        marker={
            "size": 9,
            "color": [100 * row.worse for row in rows],
            "colorscale": "Cividis",
            "cmin": 0,
            "cmax": 15,
            "showscale": with_scale,
            "colorbar": {"title": "worse than<br>the recipe, %"},
            "line": {"width": 0.5, "color": "#444"},
        },
        showlegend=False,
    )
