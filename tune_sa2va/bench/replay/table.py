"""Sums up the simulated searches of each rule, as a Parquet file and as Markdown."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from tune_sa2va.bench.replay.play import Outcome
from tune_sa2va.durable import write_whole
from tune_sa2va.durable_table import write_table

WORSE_BY = 0.005
"""An export that is below the recipe by more Dice than this counts as worse."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """A rule on a recording.

    worse: share of searches whose export is worse than the recipe by more than WORSE_BY on the locked part;
    truly_worse: on all recorded images. gain, true_gain, regret, epochs: means, see `Outcome`; gain_se: standard error
    over searches. recipe: share of searches that export the recipe.
    """

    recording: str
    rule: str
    searches: int
    worse: float
    true_gain: float
    truly_worse: float
    gain: float
    gain_se: float
    regret: float
    epochs: float
    recipe: float


def row_of(recording: str, rule: str, outcomes: Sequence[Outcome]) -> Row:
    """The row of a rule, from the outcomes of its searches."""
    gains = np.array([outcome.gain for outcome in outcomes])
    true = np.array([outcome.true_gain for outcome in outcomes])
    return Row(
        recording=recording,
        rule=rule,
        searches=len(outcomes),
        worse=float((gains < -WORSE_BY).mean()),
        true_gain=float(true.mean()),
        truly_worse=float((true < -WORSE_BY).mean()),
        gain=float(gains.mean()),
        gain_se=float(gains.std(ddof=1) / np.sqrt(len(gains))),
        regret=float(np.mean([outcome.regret for outcome in outcomes])),
        epochs=float(np.mean([outcome.epochs for outcome in outcomes])),
        recipe=float(np.mean([outcome.is_recipe for outcome in outcomes])),
    )


def write_rows(folder: Path, rows: Sequence[Row]) -> None:
    """Writes `table.parquet` and `table.md`."""
    folder.mkdir(parents=True, exist_ok=True)
    write_table(folder / "table.parquet", pa.Table.from_pylist([asdict(row) for row in rows]))
    write_whole(folder / "table.md", markdown(rows).encode())


def markdown(rows: Sequence[Row]) -> str:
    """The rows as Markdown, with a table per recording."""
    said = []
    for recording in dict.fromkeys(row.recording for row in rows):
        said += [
            f"## {recording}",
            "",
            "| rule | searches | worse, locked part | truly worse | gain, locked part | true gain | regret | epochs "
            "| recipe exported |",
            "|---|---|---|---|---|---|---|---|---|",
        ]
        said += [
            f"| {row.rule} | {row.searches} | {row.worse:.1%} | {row.truly_worse:.1%} "
            f"| {row.gain:+.4f} ± {row.gain_se:.4f} | {row.true_gain:+.4f} | {row.regret:.4f} "
            f"| {row.epochs:.0f} | {row.recipe:.0%} |"
            for row in rows
            if row.recording == recording
        ]
        said.append("")
    return "\n".join(said)
