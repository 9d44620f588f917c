"""Figures of the progress of a search: Val Dice by epoch, and the lanes over time."""

import pandas as pd
import plotly.graph_objects as go

from tune_sa2va.report.effort import Savings, Timeline, savings, timeline
from tune_sa2va.report.figure import BLUE, GREEN, GREY, ORANGE, PURPLE, RED, Figure, frame
from tune_sa2va.report.load import Run
from tune_sa2va.results.records import TrialState
from tune_sa2va.words import count, duration

_COLOURS = {
    TrialState.COMPLETE: BLUE,
    TrialState.STOPPED: GREY,
    TrialState.FAILED: RED,
    TrialState.RUNNING: GREEN,
    TrialState.WAITING: PURPLE,
}
_WORDS = {
    TrialState.COMPLETE: "ran to the end",
    TrialState.STOPPED: "stopped early",
    TrialState.FAILED: "failed",
    TrialState.RUNNING: "running",
    TrialState.WAITING: "waiting to continue",
}

_LETTER_SHARE = 0.011
"""Width of a letter of a label, as a share of the figure's width."""


def learning_curves(run: Run) -> Figure:
    """Val Dice after each epoch, one line per trial."""
    title = "Learning curves"
    if run.epochs.empty:
        return Figure(key="learning_curves", title=title, reading="No trial has finished an epoch.", plot=None)
    states = run.trials.set_index("trial_id")["state"]
    special = {run.winner_id, run.recipe_id}
    traces = []
    for state, colour in _COLOURS.items():
        members = [i for i in run.epochs["trial_id"].unique() if states[i] == state and i not in special]
        if members:
            rows = run.epochs[run.epochs["trial_id"].isin(members)]
            traces.append(_lines(rows, _WORDS[state], colour, width=1.5))
    if run.recipe_id != run.winner_id:
        traces += _special(run, run.recipe_id, "the recipe", ORANGE)
    name = "the winner (the recipe)" if run.recipe_id == run.winner_id else "the winner"
    traces += _special(run, run.winner_id, name, GREEN)
    plot = frame(traces, height=400)
    plot.update_xaxes(title="epoch", dtick=max(1, run.settings.epochs // 10), rangemode="tozero")
    plot.update_yaxes(title="Val Dice")
    return Figure(key="learning_curves", title=title, reading=_curves_reading(run), plot=plot)


def _special(run: Run, trial_id: str | None, name: str, colour: str) -> list[go.Scatter]:
    rows = run.epochs[run.epochs["trial_id"] == trial_id]
    return [] if rows.empty else [_lines(rows, name, colour, width=3)]


def _lines(rows: pd.DataFrame, name: str, colour: str, *, width: float) -> go.Scatter:
    """One trace for many trials, with a gap after each, since a thousand traces would be slow."""
    x: list[int | None] = []
    y: list[float | None] = []
    hover: list[str] = []
    for label, own in rows.groupby("label", sort=False):
        x += [*own["epoch"].tolist(), None]
        y += [*own["val_dice"].tolist(), None]
        hover += [f"{label}, epoch {e}: {v:.3f}" for e, v in zip(own["epoch"], own["val_dice"], strict=True)] + [""]
    style = {"color": colour, "width": width}
    marker = {"size": 4 + width, "color": colour}
    return go.Scatter(
        x=x, y=y, name=name, mode="lines+markers", line=style, marker=marker, text=hover, hoverinfo="text"
    )


def _curves_reading(run: Run) -> str:
    said = [savings_reading(run, savings(run.trials, run.epochs))]
    winner, recipe = run.winner, run.recipe
    if winner is not None:
        counts = f"counts by epoch {winner['best_epoch']:.0f} with Val Dice {winner['best_val_dice']:.3f}."
        is_rerun = run.exported_id != run.winner_id
        said.append(
            f"The winner repeats {winner['label']}, which {counts}"
            if is_rerun
            else f"The winner, {winner['label']}, {counts}"
        )
    if recipe is not None and pd.notna(recipe["best_val_dice"]) and run.recipe_id != run.winner_id:
        said.append(f"The recipe reached {recipe['best_val_dice']:.3f}.")
    highest = run.scored["trial_id"].map(run.epochs.groupby("trial_id")["val_dice"].max())
    falling = run.scored[run.scored["last_val_dice"] < highest - 0.01]
    if len(falling):
        said.append(f"{count(len(falling), 'trial')} ended more than 0.01 below the best of its epochs.")
    return " ".join(said)


def savings_reading(run: Run, saved: Savings) -> str:
    """How much stopping early saved, in a sentence."""
    who = "ASHA" if run.settings.time_budget_s is None else "ASHA or the time budget"
    if not saved.num_stopped:
        return f"{who} stopped none of the {count(saved.num_ended, 'ended trial')}, so no time was saved."
    stops = ", ".join(f"{amount} after epoch {epoch}" for epoch, amount in saved.stops.items())
    whole = saved.used_s + saved.saved_s
    gpus = f" ({saved.saved_s * run.settings.gpus_per_trial / 3600:.2f} GPU-hours)" if run.settings.gpus else ""
    return (
        f"{who} stopped {saved.num_stopped} of {count(saved.num_ended, 'ended trial')} ({stops}). At each trial's own "
        f"pace this saved {duration(saved.saved_s)} of lane time{gpus} of the {duration(whole)} that running all of "
        f"them to the end would have taken, {saved.saved_s / whole:.0%}."
    )


def lanes_by_time(run: Run) -> Figure:
    """The lanes over time, with one bar per epoch."""
    line = timeline(pd.concat([run.trials, run.reruns]), pd.concat([run.epochs, run.rerun_epochs]))
    title = "The lanes over time"
    if line.spans.empty:
        return Figure(key="lanes", title=title, reading="Nothing has ended yet.", plot=None)
    unit, divisor = ("minutes", 60.0) if line.total_s < 7200 else ("hours", 3600.0)
    lanes = sorted(line.spans["lane"].unique(), reverse=True)
    traces: list[go.Scatter | go.Bar] = [
        _bars(rows, TrialState(str(state)), divisor) for state, rows in line.spans.groupby("state", sort=False)
    ]
    traces.append(_labels(line, divisor))
    plot = frame(traces, height=110 + 44 * len(lanes), barmode="overlay", bargap=0.25)
    plot.update_yaxes(categoryorder="array", categoryarray=lanes, type="category")
    plot.update_xaxes(title=f"{unit} since the first trial" + (", pauses cut out" if line.pauses else ""))
    for at, length in line.pauses:
        plot.add_vline(x=at / divisor, line={"dash": "dot", "color": ORANGE})
        plot.add_annotation(x=at / divisor, y=1, yref="paper", text=f"{duration(length)} pause", showarrow=False)
    return Figure(key="lanes", title=title, reading=_lanes_reading(line, len(run.reruns)), plot=plot)


def _bars(rows: pd.DataFrame, state: TrialState, divisor: float) -> go.Bar:
    hover = [
        f"{label}, " + (f"epoch {epoch}" if epoch else "no epoch") + f": {duration(end - start)}"
        for label, epoch, start, end in rows[["label", "epoch", "start_s", "end_s"]].itertuples(index=False, name=None)
    ]
    return go.Bar(
        orientation="h",
        y=rows["lane"].tolist(),
        base=(rows["start_s"] / divisor).tolist(),
        x=((rows["end_s"] - rows["start_s"]) / divisor).tolist(),
        name=_WORDS[state],
        marker={"color": _COLOURS[state], "line": {"width": 1, "color": "rgba(255,255,255,0.6)"}},
        hovertext=hover,
        hoverinfo="text",
    )


def _labels(line: Timeline, divisor: float) -> go.Scatter:
    """Each trial's number at its first bar, left out if it would not fit before the next trial's bars."""
    runs = line.spans.groupby(["lane", "label"], sort=False).agg(start_s=("start_s", "min"), end_s=("end_s", "max"))
    shown = [
        (lane, label.split()[-1], start / divisor)
        for (lane, label), start, end in runs.itertuples(name=None)
        if (end - start) / line.total_s > len(label.split()[-1]) * _LETTER_SHARE
    ]
    return go.Scatter(
        x=[start for _, _, start in shown], y=[lane for lane, _, _ in shown], text=[text for _, text, _ in shown],
        mode="text", textposition="middle right", textfont={"color": "white", "size": 12}, cliponaxis=False,
        showlegend=False, hoverinfo="skip",
    )  # fmt: skip


def _lanes_reading(line: Timeline, num_reruns: int) -> str:
    shares = ", ".join(f"{lane} {share:.0%}" for lane, share in sorted(line.busy.items()))
    said = [
        f"Each bar is an epoch; the number is the trial that starts there. In {duration(line.total_s)} the lanes "
        f"worked for these shares of the time: {shares}."
    ]
    if num_reruns:
        said.append(f"This includes the {count(num_reruns, 'rerun')} of the best at the end.")
    if line.pauses:
        lost = duration(sum(length for _, length in line.pauses))
        said.append(f"Cut out (dotted): {count(len(line.pauses), 'pause')} of all lanes, {lost} in total.")
    return " ".join(said)
