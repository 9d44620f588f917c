"""Simulates all rules on all recordings, with one process per recording; rows are written as they come."""

from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import ExitStack
from functools import lru_cache
from itertools import product
from pathlib import Path

import optuna
from rich.console import Console

from tune_sa2va.bench.replay.figure import write_figure
from tune_sa2va.bench.replay.play import Play
from tune_sa2va.bench.replay.recorded import Recorded, read_recorded, without_full
from tune_sa2va.bench.replay.rule import Rule
from tune_sa2va.bench.replay.rules import RULES, SPLIT
from tune_sa2va.bench.replay.table import Row, row_of, write_rows

NARROW = "mask_decoder"
"""The narrowed space leaves out configurations that train this module in full: some are far ahead of all others."""

_FEWER = 4
"""The Gaussian process gets only a fourth of the searches: each of its proposals takes 0.2 s."""


def replay(files: Sequence[Path], out: Path, *, searches: int) -> list[Row]:
    """Simulates `searches` searches of every rule; writes the tables after each rule, and the figure at the end.

    Raises:
        ResultsError: a file is not a complete recording.
    """
    for file in files:
        read_recorded(file)
    rows: dict[tuple[int, str], Row] = {}
    console = Console()
    with ExitStack() as open_pools:
        waiting = {}
        for place, (file, narrow) in enumerate(product(files, (True, False))):
            pool = open_pools.enter_context(ProcessPoolExecutor(1))
            for name, rule in (RULES | SPLIT if narrow else RULES).items():
                seeds = range(searches // _FEWER if rule.sampler == "gp" else searches)
                waiting[pool.submit(_play, file, narrow, name, rule, seeds)] = place, name
        for done in as_completed(waiting):
            rows[waiting[done]] = done.result()
            console.print(waiting[done][0], done.result(), soft_wrap=True)
            write_rows(out, _in_order(rows))
    console.print(write_figure(out, _in_order(rows)))
    return _in_order(rows)


def _in_order(rows: dict[tuple[int, str], Row]) -> list[Row]:
    order = list(RULES | SPLIT)
    return [rows[key] for key in sorted(rows, key=lambda key: (key[0], order.index(key[1])))]


@lru_cache
def _load(file: Path, narrow: bool) -> Recorded:
    """The recording; read once per process."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    recorded = read_recorded(file)
    return without_full(recorded, NARROW) if narrow else recorded


def _play(file: Path, narrow: bool, name: str, rule: Rule, seeds: Iterable[int]) -> Row:
    recorded = _load(file, narrow)
    return row_of(recorded.name, name, [Play(recorded, rule, seed).run() for seed in seeds])
