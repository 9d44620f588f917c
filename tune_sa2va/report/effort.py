"""How the lanes' time was used, and how much stopping early saved."""

from collections import Counter
from dataclasses import dataclass

import pandas as pd

from tune_sa2va.results.records import TrialState, lane_seconds

_SHORTEST_PAUSE_S = 60.0
"""Shorter times without a working lane are kept in the timeline: starting lanes, scoring."""


@dataclass(frozen=True, slots=True)
class Savings:
    """Used and saved lane time in seconds. One lane working for one second counts 1, however many GPUs it has; trials
    that share it count as a part of that each."""

    used_s: float
    saved_s: float
    """What the missing epochs of stopped trials would have taken, at each trial's own mean time per epoch."""
    num_stopped: int
    num_ended: int
    """Number of trials that are COMPLETE or STOPPED."""
    stops: dict[int, int]
    """Epoch after which trials were stopped -> number of trials."""


@dataclass(frozen=True, slots=True)
class Timeline:
    """What each lane did over time, with long pauses of all lanes cut out.

    spans: a table with trial_id, number, label, state, lane, epoch, start_s and end_s, in seconds since the first start
    of the search. pauses: (where one was cut out, its length), in seconds. busy: lane -> share of the time in which it
    worked, in [0, 1]. total_s: length of the timeline.
    """

    spans: pd.DataFrame
    pauses: list[tuple[float, float]]
    busy: dict[str, float]
    total_s: float


def savings(trials: pd.DataFrame, epochs: pd.DataFrame) -> Savings:
    """The lane time that stopping early saved. Waiting, running and failed trials are not counted as stopped or
    ended."""
    stopped = trials[(trials["state"] == TrialState.STOPPED) & (trials["epochs"] > 0)]
    shares = lane_seconds(epochs)
    per_epoch = shares.groupby(epochs["trial_id"]).mean()
    missing = stopped["train.epochs"] - stopped["epochs"]
    return Savings(
        used_s=float(shares.sum()),
        saved_s=float((missing * per_epoch.reindex(stopped["trial_id"]).to_numpy()).sum()),
        num_stopped=len(stopped),
        num_ended=int(trials["state"].isin([TrialState.COMPLETE, TrialState.STOPPED]).sum()),
        stops=dict(sorted(Counter(stopped["epochs"].tolist()).items())),
    )


def timeline(trials: pd.DataFrame, epochs: pd.DataFrame) -> Timeline:
    """The timeline of all epochs, and of all trials that ended without one."""
    spans = pd.concat([_epoch_spans(trials, epochs), _spans_without_epoch(trials, epochs)], ignore_index=True)
    if spans.empty:
        return Timeline(spans=spans, pauses=[], busy={}, total_s=0.0)
    origin = spans["start"].min()
    spans["start_s"] = (spans["start"] - origin).dt.total_seconds()
    spans["end_s"] = (spans["end"] - origin).dt.total_seconds()
    spans, pauses = _cut_pauses(spans.sort_values("start_s").reset_index(drop=True))
    total_s = float(spans["end_s"].max())
    worked = (spans["end_s"] - spans["start_s"]).groupby(spans["lane"]).sum()
    busy = {str(lane): min(1.0, float(seconds) / total_s) if total_s else 0.0 for lane, seconds in worked.items()}
    return Timeline(spans=spans.drop(columns=["start", "end"]), pauses=pauses, busy=busy, total_s=total_s)


def _epoch_spans(trials: pd.DataFrame, epochs: pd.DataFrame) -> pd.DataFrame:
    spans = epochs[["trial_id", "number", "label", "epoch", "lane", "ended_at", "seconds"]].merge(
        trials[["trial_id", "state"]], on="trial_id"
    )
    spans["start"] = spans["ended_at"] - pd.to_timedelta(spans["seconds"], unit="s")
    return spans.rename(columns={"ended_at": "end"}).drop(columns="seconds")


def _spans_without_epoch(trials: pd.DataFrame, epochs: pd.DataFrame) -> pd.DataFrame:
    none = trials[~trials["trial_id"].isin(epochs["trial_id"]) & trials["ended_at"].notna()]
    spans = none[["trial_id", "number", "label", "state", "lane", "started_at", "ended_at"]].assign(epoch=0)
    return spans.rename(columns={"started_at": "start", "ended_at": "end"})


def _cut_pauses(spans: pd.DataFrame) -> tuple[pd.DataFrame, list[tuple[float, float]]]:
    """Cuts out long pauses of all lanes, such as a night between two days, by moving later spans forward.

    Returns the moved spans and the `pauses` of a `Timeline`.
    """
    work = float((spans["end_s"] - spans["start_s"]).sum())
    longest_kept = max(_SHORTEST_PAUSE_S, 0.1 * work)
    pauses: list[tuple[float, float]] = []
    shifts, reached, cut = [], 0.0, 0.0
    for start, end in spans[["start_s", "end_s"]].itertuples(index=False, name=None):
        if start - reached > longest_kept:
            pauses.append((reached - cut, start - reached))
            cut += start - reached
        shifts.append(cut)
        reached = max(reached, end)
    shift = pd.Series(shifts, index=spans.index)
    return spans.assign(start_s=spans["start_s"] - shift, end_s=spans["end_s"] - shift), pauses
