"""Trains the winner once more, on every image that is not locked, up to its best epoch: `--final refit`.

It runs as a Ray task on one device, where the lanes ran. Its result is kept in the results folder, so that a search
that is resumed later does not train it again. No image is left to choose an epoch or a threshold by, so both are those
of the trial, and so is the schedule of the learning rates.
"""

import tempfile
from pathlib import Path

import ray
import torch

from tune_sa2va.cache.again import with_sound_features
from tune_sa2va.config import LaneSettings, TrialConfig
from tune_sa2va.data.split_file import Names, read_names
from tune_sa2va.durable import publish_folder
from tune_sa2va.errors import RefitError, TrialFailure
from tune_sa2va.export import TrialCheckpoint
from tune_sa2va.lane.messages import FilesRef, pack_folder, unpack_folder
from tune_sa2va.results.settings import SearchSettings
from tune_sa2va.score.tasks import failures_in_codes, result_of
from tune_sa2va.train.trial import Trial
from tune_sa2va.train.workbench import Workbench


def refit(settings: SearchSettings, checkpoint: TrialCheckpoint) -> None:
    """Trains the checkpoint's configuration on all searched images, unless its `refit_folder` exists already.

    Needs a running Ray.

    Raises:
        RefitError: that training failed, although those of the search did not.
    """
    to = checkpoint.refit_folder
    if to.exists():
        return
    task = ray.remote(num_cpus=0, num_gpus=1 if settings.gpus else 0, max_retries=1)(_train)
    try:
        found: FilesRef = result_of(
            task.remote(settings.lane, read_names(settings.folder), checkpoint.config, checkpoint.epoch)
        )
    except TrialFailure as error:
        other = "ensemble" if checkpoint.folds > 1 else "best-run"
        raise RefitError(
            f"Trial {checkpoint.trial_id} failed when it was trained on all images: {error} Try that again with "
            f"--resume, or export what it trained before: python -m tune_sa2va.export --run {settings.folder} "
            f"--final {other}."
        ) from error
    unfinished = to.with_name(f".{to.name}.part")
    unpack_folder(found, unfinished)
    publish_folder(unfinished, to)


def _train(lane: LaneSettings, names: Names, config: TrialConfig, epochs: int) -> FilesRef:
    with failures_in_codes(names, lane.data):
        return with_sound_features(lambda: _train_on_all(lane, names, config, epochs))


def _train_on_all(lane: LaneSettings, names: Names, config: TrialConfig, epochs: int) -> FilesRef:
    torch.set_num_threads(lane.cpus_per_worker)
    alone = lane.model_copy(update={"seats": 1})  # a step costs all seats, also those that nobody takes
    bench = Workbench.open(alone, names, rank=0, world_size=1, on_all=True)
    # One worker processes in a step what all workers of the lane processed together.
    together = config.train.accumulation_steps * lane.num_workers
    trial = bench.trial(config.replace({"train.accumulation_steps": together}))
    assert isinstance(trial, Trial), "a refit has no folds"
    try:
        for record in trial.epochs():
            if record.epoch == epochs:
                break
        with tempfile.TemporaryDirectory(prefix="tune_sa2va-refit-") as name:
            trial.save(Path(name))
            return pack_folder(Path(name))
    finally:
        trial.close()
