"""Makes a recording with several processes: many small trials in parallel keep one card busy."""

import json
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
from rich.console import Console

from tune_sa2va.bench.processes import tasks_of, work_off
from tune_sa2va.bench.record.pieces import (
    CONFIGURATIONS_FILE,
    PIECES,
    SPACE_FILE,
    gather,
    piece_path,
    run_seconds,
    write_recording,
)
from tune_sa2va.bench.record.plan import RecordingPlan, Run, coded
from tune_sa2va.durable import write_whole
from tune_sa2va.durable_table import write_table
from tune_sa2va.space.search_space import load_space


def record(plan: RecordingPlan, folder: Path, *, processes: int, minutes: float | None, compiled: bool) -> bool:
    """Makes the missing runs of the recording in `folder`. Returns whether it is complete.

    minutes: stop cleanly after this time; None: no limit. compiled: use torch.compile. Each process then compiles for a
    minute, or reads what another one compiled; without it, a step is still one CUDA graph.
    """
    deadline = None if minutes is None else time.time() + 60 * minutes
    plan.save(folder)
    (folder / PIECES).mkdir(exist_ok=True)
    runs = plan.runs()
    todo = [run for run in runs if not piece_path(folder, run).exists()]
    console = Console()
    console.print(f"{len(runs)} runs of {plan.epochs} epochs, {len(runs) - len(todo)} of them done before")
    started = time.time()
    if todo:
        work_off(todo, _process, (plan, folder, deadline), processes=processes, compiled=compiled)
    done = [run for run in todo if piece_path(folder, run).exists()]
    if done:
        mean_s = sum(run_seconds(folder, run) for run in done) / len(done)
        console.print(
            f"{len(done)} runs by {processes} processes in {time.time() - started:.0f} s, their start included; "
            f"{mean_s:.1f} s per run, so {processes / mean_s:.2f} runs per second"
        )
    is_whole = len(done) == len(todo)
    _write_tables(plan, folder, runs)
    console.print(
        "The recording is complete." if is_whole else f"{len(todo) - len(done)} runs are missing; call again."
    )
    return is_whole


def _process(plan: RecordingPlan, folder: Path, deadline: float | None, waiting: Any) -> None:
    from tune_sa2va.bench.record.worker import record_runs

    tasks = tasks_of(waiting)
    record_runs(plan, folder, lambda: next(tasks, None), deadline=deadline)


def _write_tables(plan: RecordingPlan, folder: Path, runs: list[Run]) -> None:
    table = gather(folder, runs, coded(plan.samples()))
    table = table.replace_schema_metadata({**(table.schema.metadata or {}), "recording": json.dumps(plan.about())})
    write_recording(folder / f"{Path(plan.data).name}.parquet", table)
    rows = [{"configuration": number} | config.flat() for number, config in enumerate(plan.configs())]
    write_table(folder / CONFIGURATIONS_FILE, pa.Table.from_pylist(rows), compression="zstd")
    if plan.space is not None:
        write_whole(folder / SPACE_FILE, load_space(plan.space).source.read_bytes())
