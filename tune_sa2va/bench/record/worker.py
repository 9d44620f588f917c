"""One process of a recording: loads the model once, then makes one run after another."""

import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from tune_sa2va.bench.record.pieces import write_piece
from tune_sa2va.bench.record.plan import RecordingPlan, Run, of_fold, with_seed
from tune_sa2va.bench.record.resident import ResidentEngine, ResidentImages, open_resident
from tune_sa2va.config import TrialConfig
from tune_sa2va.errors import TrialFailure
from tune_sa2va.evaluate.metrics import Counts
from tune_sa2va.train.trial import Trial

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class RecordingBench:
    """The base model and all images of the data set, ready for one run at a time."""

    engine: ResidentEngine
    images: ResidentImages
    fold_of: tuple[int, ...]
    configs: tuple[TrialConfig, ...]

    @classmethod
    def open(cls, plan: RecordingPlan) -> "RecordingBench":
        """Loads the model and the images' features; encodes images that the feature cache lacks."""
        samples, configs = plan.samples(), plan.configs()
        engine, images = open_resident(plan.data, plan.model, samples, configs)
        return cls(engine, images, plan.fold_of(samples), tuple(configs))

    def epochs(self, run: Run) -> Iterator[list[Counts]]:
        """The counts of the fold's images after each epoch, in order of the images; ends early if the run fails."""
        train, val = (self.images.some(numbers) for numbers in of_fold(self.fold_of, run.fold))
        config = with_seed(self.configs[run.configuration], run.seed)
        trial = Trial(self.engine, train, val, config)
        try:
            for _ in trial.epochs():
                yield trial.val_counts
        except TrialFailure as failure:
            log.warning("%s failed: %s", run.name, failure)
        finally:
            trial.close()


def record_runs(
    plan: RecordingPlan, folder: Path, next_run: Callable[[], Run | None], *, deadline: float | None
) -> None:
    """Makes the runs that `next_run` returns and writes their counts, until there are no more or time is up.

    deadline: in seconds of `time.time()`; None: no limit. A run does not begin if it would end after the deadline by
    the longest duration so far; a run that passes the deadline is given up.
    """
    torch.set_num_threads(1)
    bench = RecordingBench.open(plan)
    longest_s = 0.0
    while (run := next_run()) is not None:
        started = time.time()
        if deadline is not None and started + longest_s > deadline:
            return
        counts: list[list[Counts]] = []
        for epoch in bench.epochs(run):
            counts.append(epoch)
            if deadline is not None and time.time() > deadline:
                return
        seconds = time.time() - started
        write_piece(folder, run, of_fold(bench.fold_of, run.fold)[1], counts, seconds=seconds)
        longest_s = max(longest_s, seconds)
