"""One process of a recording: opens the model once, then makes one run after the other."""

import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from tune_sa2va.bench.record.pieces import write_piece
from tune_sa2va.bench.record.plan import RecordingPlan, Run, of_fold, with_seed
from tune_sa2va.bench.record.resident import ResidentEngine, ResidentImages
from tune_sa2va.cache.place import features_folder
from tune_sa2va.config import DataSettings, LaneSettings, ModelSettings, TrialConfig
from tune_sa2va.errors import TrialFailure
from tune_sa2va.evaluate.metrics import Counts
from tune_sa2va.model.encoding import release_encoders
from tune_sa2va.train.trial import Trial
from tune_sa2va.train.workbench import open_examples, open_model

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
        """Load the model and the images' features; encodes what the feature cache lacks, as every process does."""
        on_gpu = torch.cuda.is_available()
        device = torch.device("cuda", 0) if on_gpu else torch.device("cpu")
        configs = plan.configs()
        settings = LaneSettings(
            model=ModelSettings(model=plan.model, precision="bf16" if on_gpu else "fp32"),
            data=DataSettings(source=plan.data),
            feature_cache=features_folder(),
            raw_high_res=any("mask_decoder" in config.train.full_modules for config in configs),
            num_workers=1,
            use_gpu=on_gpu,
            max_rank=max(config.lora.r for config in configs) if on_gpu else None,
            any_dropout=any(config.lora.dropout > 0 for config in configs),
        )
        model = open_model(settings.model, device)
        samples = plan.samples()
        images = ResidentImages.load(open_examples(model, settings, samples, device), device)
        release_encoders(model)
        engine = ResidentEngine(model, max_rank=settings.max_rank, any_dropout=settings.any_dropout)
        return cls(engine, images, plan.fold_of(samples), tuple(configs))

    def epochs(self, run: Run) -> Iterator[list[Counts]]:
        """Counts of the fold's images after each epoch, in the order of the images; ends early where the run fails."""
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
    """Make runs as `next_run` names them and write their pieces, until there is none or time is up.

    deadline: of `time.time()`; a run that would end after it, as long as the longest so far, does not begin, and one
    that does all the same is given up.
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
