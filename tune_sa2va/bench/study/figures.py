"""The figures of a study: gain over time, gain of each seed, what each setting gains by itself, and what mattered."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from tune_sa2va.bench.study.ablation import AblationRow
from tune_sa2va.bench.study.outcome import Outcome
from tune_sa2va.bench.study.rows import NAMES
from tune_sa2va.bench.study.table import Row
from tune_sa2va.report.figure import BLUE, GREEN, GREY, ORANGE, RED, Figure, frame
from tune_sa2va.report.importance import Importance
from tune_sa2va.report.space_figures import importance_bars

_COLOURS = {"random": GREY, "tpe": ORANGE, "tpe-asha": RED, "wide": BLUE, "deep": GREEN}
_POINTS = 200


def study_figures(
    outcome: Outcome, rows: list[Row], ablation: list[AblationRow], mattered: list[Importance]
) -> list[Figure]:
    """All four; those without data have no plot. mattered: in the searches without early stop."""
    return [_anytime(outcome.curves), _differences(outcome.scores, rows), _ablation(ablation), _importance(mattered)]


def _anytime(curves: pd.DataFrame) -> Figure:
    """The best score so far over time: median over seeds, and their range."""
    traces: list[go.Scatter | go.Bar] = []
    for key, colour in _COLOURS.items():
        own = [curve for _, curve in curves[curves["key"] == key].groupby("seed")] if len(curves) else []
        if not own:
            continue
        hours = np.linspace(0.0, max(curve["hours"].iloc[-1] for curve in own), _POINTS)
        gains = np.array([_at(curve, hours) for curve in own])
        known = ~np.isnan(gains).any(axis=0)
        x, low, high = hours[known], gains[:, known].min(axis=0), gains[:, known].max(axis=0)
        band = {"fill": "toself", "opacity": 0.15, "line": {"width": 0}, "fillcolor": colour, "hoverinfo": "skip"}
        traces += [
            go.Scatter(
                x=[*x, *x[::-1]], y=[*high, *low[::-1]], mode="lines", showlegend=False, legendgroup=key, **band
            ),
            go.Scatter(
                x=x, y=np.median(gains[:, known], axis=0), mode="lines", name=NAMES[key], legendgroup=key,
                line={"color": colour, "shape": "hv"},
            ),
        ]  # fmt: skip
    plot = frame(traces, height=420)
    plot.update_xaxes(title_text="hours of a GPU, or of a lane of CPUs")
    plot.update_yaxes(title_text="best Val Dice so far, minus the recipe's")
    return Figure(
        key="anytime",
        title="What is gained with time",
        reading="Median over seeds of the best trial so far, with the range between seeds.",
        plot=plot if traces else None,
    )


def _at(curve: pd.DataFrame, hours: np.ndarray) -> np.ndarray:
    """The best score so far at each of `hours`; NaN before the end of the first epoch."""
    places = np.searchsorted(curve["hours"].to_numpy(), hours, side="right") - 1
    return np.where(places < 0, np.nan, curve["gain"].to_numpy()[np.maximum(places, 0)])


def _differences(scores: pd.DataFrame, rows: list[Row]) -> Figure:
    """The mean gain of each row with its interval, and a small point per seed."""
    shown = [row for row in rows if row.key != "recipe"][::-1]
    names = [NAMES[row.key] for row in shown]
    traces: list[go.Scatter | go.Bar] = []
    gains = scores.assign(gain=scores["dice"] - scores["recipe_dice"]).groupby(["key", "seed"])["gain"].mean()
    for row, name in zip(shown, names, strict=True):
        own = gains[row.key]
        traces.append(
            go.Scatter(
                x=own.tolist(), y=[name] * len(own), mode="markers", showlegend=False,
                marker={"color": GREY, "size": 6}, text=[f"seed {seed}" for seed in own.index],
            )
        )  # fmt: skip
    traces.append(_means(shown, names))
    plot = _beside_the_recipe(traces, "Dice on locked patients, minus the recipe's", len(shown))
    return Figure(
        key="differences",
        title="What each row gains on the locked patients",
        reading="Points are seeds; the diamond is their mean with its interval over patients.",
        plot=plot if shown else None,
    )


def _ablation(rows: list[AblationRow]) -> Figure:
    """The mean gain of each configuration with its interval."""
    shown = [row for row in rows if not np.isnan(row.gain)][::-1]
    traces: list[go.Scatter | go.Bar] = [_means(shown, [row.name for row in shown])]
    plot = _beside_the_recipe(traces, "Dice out of fold, minus the recipe's", len(shown))
    return Figure(
        key="ablation",
        title="What each setting gains by itself",
        reading="One configuration each, trained on folds of all images; nothing was chosen by these scores.",
        plot=plot if shown else None,
    )


def _importance(mattered: list[Importance]) -> Figure:
    """The share of each field in what good trials have in common."""
    return Figure(
        key="importance",
        title="What mattered (PED-ANOVA)",
        reading="Trials of all seeds, each run to its last epoch.",
        plot=importance_bars(mattered) if mattered else None,
    )


def _beside_the_recipe(traces: list[go.Scatter | go.Bar], axis: str, num_rows: int) -> go.Figure:
    """A row per name, and a line at the recipe."""
    plot = frame(traces, height=90 + 40 * num_rows)
    plot.add_vline(x=0.0, line={"color": GREY, "dash": "dot"})
    plot.update_xaxes(title_text=axis)
    return plot


def _means(rows: Sequence[Row | AblationRow], names: list[str]) -> go.Scatter:
    return go.Scatter(
        x=[row.gain for row in rows], y=names, mode="markers", name="mean [95% over patients]",
        marker={"color": BLUE, "size": 10, "symbol": "diamond"},
        error_x={"array": [row.high - row.gain for row in rows], "arrayminus": [row.gain - row.low for row in rows]},
    )  # fmt: skip
