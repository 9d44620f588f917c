"""Figures of the search space: every trial as a line through its values, importance, and learning rate by rank."""

import math
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from tune_sa2va.report.figure import BLUE, GREEN, GREY, ORANGE, PURPLE, Figure, frame, plain
from tune_sa2va.report.importance import MIN_TRIALS, Importance, at_equal_epochs, importances
from tune_sa2va.report.load import Run
from tune_sa2va.space.search_space import Dimension, Kind, SearchSpace
from tune_sa2va.words import count, setting

LR, RANK = "optimizer.lr", "lora.r"
_FEWEST = 3
"""Smallest number of trials for a statement about them; one or two trials may be chance."""


def parallel_rows(run: Run) -> Figure:
    """Parallel coordinates, turned by 90 degrees: one row per hyperparameter leaves room for names and fits phones."""
    title = "Every trial through the search space"
    space, scored = run.settings.search_space.dimensions, run.scored.sort_values("best_val_dice")
    if scored.empty:
        return Figure(key="parallel", title=title, reading="No trial has a Val Dice.", plot=None)
    third = math.ceil(len(scored) / 3)
    parts = [
        (scored.iloc[: max(0, len(scored) - 2 * third)], "lowest third", GREY, 1.0),
        (scored.iloc[max(0, len(scored) - 2 * third) : len(scored) - third], "middle third", PURPLE, 1.0),
        (scored.iloc[len(scored) - third :], "best third by Val Dice", BLUE, 1.8),
        (scored[scored["trial_id"] == run.recipe_id], "the recipe", ORANGE, 3.0),
        (scored[scored["trial_id"] == run.winner_id], "the winner", GREEN, 3.5),
    ]
    dices = scored["best_val_dice"].min(), scored["best_val_dice"].max()
    traces = [
        _row_lines(rows, run.settings.search_space, dices, name, colour, width)
        for rows, name, colour, width in parts
        if len(rows)
    ]
    plot = frame(traces, height=130 + 42 * (len(space) + 1))
    names = [*map(_row_name, space.items()), f"Val Dice<br><i>{dices[0]:.3f} … {dices[1]:.3f}</i>"]
    plot.update_yaxes(tickvals=list(range(len(names))), ticktext=names, autorange="reversed", showgrid=True)
    plot.update_xaxes(showticklabels=False, showgrid=False, zeroline=False, range=[-0.04, 1.04])
    reading = _rows_reading(run, scored.iloc[len(scored) - third :])
    return Figure(key="parallel", title=title, reading=reading, plot=plot)


def _row_name(entry: tuple[str, Dimension]) -> str:
    path, dimension = entry
    first, last = dimension.values[0], dimension.values[-1]
    return f"{path}<br><i>{plain(_short(first))} … {plain(_short(last))}</i>"


def _short(value: Any) -> str:
    text = setting(value)
    return text if len(text) <= 20 else text[:19] + "…"


def _row_lines(
    rows: pd.DataFrame, searched: SearchSpace, dices: tuple[float, float], name: str, colour: str, width: float
) -> go.Scatter:
    """One trace for many trials. dices: lowest and highest score of all trials, the ends of the scores' row."""
    space = searched.dimensions
    x: list[float | None] = []
    y: list[int | None] = []
    hover: list[str] = []
    for row in rows.to_dict("records"):
        counting = set(searched.counting(row))
        places = (_place(d, row[path]) if path in counting else None for path, d in space.items())
        x += [*places, _between(row["best_val_dice"], *dices), None]
        y += [*range(len(space) + 1), None]
        hover += [plain(f"{row['label']}: {path} = {setting(row[path])}") for path in space]
        hover += [f"{row['label']}: Val Dice {row['best_val_dice']:.3f}", ""]
    line = {"color": colour, "width": width}
    marker = {"size": 4 + width, "color": colour}
    return go.Scatter(x=x, y=y, name=name, mode="lines+markers", line=line, marker=marker, text=hover, hoverinfo="text")


def _place(dimension: Dimension, value: Any) -> float:
    """The place of a value in its row, in [0, 1]: choices are evenly spaced, ranges have their own scale."""
    if dimension.kind is Kind.CHOICE:
        return dimension.values.index(value) / max(1, len(dimension.values) - 1)
    low, high = dimension.values
    if dimension.kind.is_log:
        return _between(math.log(value), math.log(low), math.log(high))
    return _between(value, low, high)


def _between(value: float, low: float, high: float) -> float:
    return (value - low) / (high - low) if high > low else 0.5


def _rows_reading(run: Run, best: pd.DataFrame) -> str:
    said = [
        f"Each line is one of {count(len(run.scored), 'trial')} with a score. From left to right, each row has the "
        "range or the choices of a field, and the last row the scores from lowest to highest."
    ]
    space = run.settings.search_space.dimensions
    if LR in space and len(best) >= _FEWEST:
        low, high = best[LR].min(), best[LR].max()
        said.append(f"In the best third {LR} is from {low:.2g} to {high:.2g}.")
    agreed = [path for path, d in space.items() if d.kind is Kind.CHOICE and len({setting(v) for v in best[path]}) == 1]
    if agreed and len(best) >= _FEWEST:
        values = ", ".join(f"{path} = {setting(best[path].iloc[0])}" for path in agreed)
        said.append(f"All trials of the best third have {values}.")
    return " ".join(said)


def importance_figure(run: Run) -> Figure:
    """PED-ANOVA's shares of importance with their uncertainty."""
    title = "What mattered (PED-ANOVA)"
    searched = run.settings.search_space
    # A field that only some trials have cannot be compared over all of them.
    space = {path: d for path, d in searched.distributions.items() if path not in searched.conditional}
    trials, epochs = at_equal_epochs(run.scored, run.epochs)
    rows = importances(trials, space)
    if not rows:
        reading = (
            f"{count(len(run.scored), 'trial')} with a score and {count(len(space), 'searched field')}: too few to "
            f"say what mattered. At least {MIN_TRIALS} trials and two fields are needed."
        )
        return Figure(key="importance", title=title, reading=reading, plot=None)
    return Figure(
        key="importance",
        title=title,
        reading=_importance_reading(rows, len(trials), epochs),
        plot=importance_bars(rows),
    )


def importance_bars(rows: list[Importance]) -> go.Figure:
    """A bar per field, with its interval and what it gets by chance."""
    shown = rows[::-1]
    names, shares = [row.path for row in shown], [row.share for row in shown]
    bars = go.Bar(
        orientation="h", x=shares, y=names, name="share, 95% interval over resampled trials", marker={"color": BLUE},
        error_x={"type": "data", "symmetric": False, "color": GREY, "thickness": 1.5,
                 "array": [max(0.0, row.high - row.share) for row in shown],
                 "arrayminus": [max(0.0, row.share - row.low) for row in shown]},
    )  # fmt: skip
    chance = go.Scatter(
        x=[row.chance for row in shown], y=names, mode="markers", name="by chance: 95% of shuffles are below",
        marker={"symbol": "line-ns-open", "size": 16, "color": ORANGE, "line": {"width": 2}},
    )  # fmt: skip
    plot = frame([bars, chance], height=130 + 30 * len(rows))
    plot.update_xaxes(title="share of importance", rangemode="tozero")
    return plot


def _importance_reading(rows: list[Importance], num_trials: int, epochs: int) -> str:
    first, second = rows[:2]
    said = [f"{first.path} has the largest share, {first.share:.2f} [{first.low:.2f}, {first.high:.2f}]."]
    if first.low <= second.high:
        said.append(f"Its interval overlaps that of {second.path}, so which of them matters more is not certain.")
    beyond = [row.path for row in rows if row.beats_chance]
    if beyond:
        said.append(f"More important than by chance (shuffled scores): {', '.join(beyond)}.")
    else:
        said.append("No share is larger than by chance (shuffled scores), so these trials show no field to matter.")
    said.append(
        f"From {count(num_trials, 'trial')} by their best Val Dice of the first {count(epochs, 'epoch')}, which each "
        "of them ran, so that trials stopped early are compared fairly."
    )
    return " ".join(said)


def lr_rank_map(run: Run) -> Figure:
    """LoRA rank over learning rate, coloured by Val Dice."""
    title = "Learning rate and rank"
    space, scored = run.settings.search_space.dimensions, run.scored
    if missing := [path for path in (LR, RANK) if path not in space]:
        reading = f"Not drawn: {' and '.join(missing)} had one value for all trials."
        return Figure(key="lr_rank", title=title, reading=reading, plot=None)
    if scored.empty:
        return Figure(key="lr_rank", title=title, reading="No trial has a Val Dice.", plot=None)
    symbols = ["circle" if epochs >= run.settings.epochs else "diamond" for epochs in scored["epochs"]]
    edge = [{run.winner_id: 3.0, run.recipe_id: 2.0}.get(i, 1.0) for i in scored["trial_id"]]
    # All get an outline, since the darkest colour of the scale is hard to see on a dark page.
    edge_colours = [{run.winner_id: GREEN, run.recipe_id: ORANGE}.get(i, GREY) for i in scored["trial_id"]]
    dots = go.Scatter(
        x=scored[LR].tolist(), y=scored[RANK].tolist(), mode="markers", showlegend=False,
        marker={"size": 15, "symbol": symbols, "color": scored["best_val_dice"].tolist(), "colorscale": "Viridis",
                "line": {"width": edge, "color": edge_colours},
                "colorbar": {"title": {"text": "Val Dice", "side": "top"}, "orientation": "h", "thickness": 12,
                             "y": 1.02, "yanchor": "bottom", "len": 0.8}},
        text=[f"{label}: lr {lr:.2g}, r {r}, Val Dice {dice:.3f} in {count(epochs, 'epoch')}"
              for label, lr, r, dice, epochs in
              scored[["label", LR, RANK, "best_val_dice", "epochs"]].itertuples(index=False, name=None)],
        hoverinfo="text",
    )  # fmt: skip
    plot = frame([dots], height=400)
    plot.update_xaxes(title="learning rate", type="log", dtick="D2", tickformat=".0e")
    ranks = sorted(scored[RANK].unique().tolist())
    plot.update_yaxes(title="LoRA rank r", type="log", tickvals=ranks, ticktext=[str(rank) for rank in ranks])
    return Figure(key="lr_rank", title=title, reading=_map_reading(*at_equal_epochs(scored, run.epochs)), plot=plot)


def _map_reading(trials: pd.DataFrame, epochs: int) -> str:
    """trials, epochs: the result of `at_equal_epochs`."""
    said = [
        "The winner has a green outline, the recipe an orange one. Diamonds are trials that did not run to the end."
    ]
    by_rank = trials.groupby(RANK)["best_val_dice"]
    mean_dice = by_rank.mean()[by_rank.size() >= _FEWEST].sort_values()
    basis = f"by the best of their first {count(epochs, 'epoch')}"
    if len(mean_dice) > 1:
        said.append(
            f"Mean Val Dice of ranks with at least {_FEWEST} trials, {basis}: from {mean_dice.iloc[0]:.3f} "
            f"(r = {mean_dice.index[0]}) to {mean_dice.iloc[-1]:.3f} (r = {mean_dice.index[-1]})."
        )
    if len(trials) and trials[LR].nunique() > 1:
        order = trials[LR].corr(trials["best_val_dice"], method="spearman")
        said.append(
            f"Rank correlation of lr with Val Dice: {order:+.2f} (Spearman, {count(len(trials), 'trial')}, {basis})."
        )
    return " ".join(said)
