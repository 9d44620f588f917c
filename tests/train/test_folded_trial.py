"""K trainings on one base: each equals the same training alone, resumes exactly, and is scored on unseen images."""

import dataclasses
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from tests.train.bench import lane_settings
from tune_sa2va.config import RECIPE, TrialConfig
from tune_sa2va.data import Sample, check, open_dataset, split_by_group
from tune_sa2va.data.parts import cut_into_folds
from tune_sa2va.data.split_file import read_names, write_split
from tune_sa2va.errors import CheckpointError, NonFiniteError
from tune_sa2va.evaluate.metrics import mean_scores
from tune_sa2va.train.engine import Engine
from tune_sa2va.train.epoch import run_epoch
from tune_sa2va.train.folded_trial import FoldedTrial
from tune_sa2va.train.records import EpochRecord
from tune_sa2va.train.trial import Trial
from tune_sa2va.train.workbench import Workbench

FOLDS = 3
CLOCK = {"it_per_s", "seconds", "train_seconds", "val_seconds"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("folds")


@pytest.fixture(scope="module")
def bench(folder: Path) -> Workbench:
    settings = lane_settings(folder)
    samples = split_by_group(check(open_dataset(folder / "data")).samples, seed=0)
    write_split(folder, cut_into_folds(samples, FOLDS, seed=0))
    return Workbench.open(settings, read_names(folder), rank=0, world_size=1)


def config(**values: object) -> TrialConfig:
    paths = {name.replace("__", "."): value for name, value in values.items()}
    return RECIPE.replace({"train.epochs": 2, "lora.r": 4, "optimizer.lr": 1e-3, **paths})


def folded(bench: Workbench, trial_config: TrialConfig, resume_from: Path | None = None) -> FoldedTrial:
    trial = bench.trial(trial_config, resume_from)
    assert isinstance(trial, FoldedTrial)
    return trial


def numbers(record: EpochRecord) -> dict[str, object]:
    return {name: value for name, value in dataclasses.asdict(record).items() if name not in CLOCK}


def names(samples: tuple[Sample, ...]) -> set[str]:
    return {sample.name for sample in samples}


def test_every_searched_image_is_scored_once_by_who_never_saw_it(bench: Workbench) -> None:
    assert len(bench.parts) == FOLDS
    places = [place for part in bench.parts for place in part.places]
    assert sorted(places) == list(range(len(places)))
    everything = names(bench.train.samples) | names(bench.val.samples)
    for part in bench.parts:
        assert not names(part.train.samples) & names(part.val.samples)
        assert names(part.train.samples) | names(part.val.samples) == everything


def test_each_fold_is_what_it_would_be_alone(bench: Workbench) -> None:
    trial_config = config(lora__dropout=0.1, train__full_modules=["mask_decoder"], optimizer__weight_decay=0.1)
    before = {name: tensor.clone() for name, tensor in bench.model.state_dict().items()}
    trial = folded(bench, trial_config)
    records = [record for record in trial.epochs() if record is not None]
    together = list(trial.val_counts)
    trial.close()
    after = bench.model.state_dict()
    assert all(torch.equal(after[name], before[name]) for name in before)
    alone = []
    for number, part in enumerate(bench.parts):
        single = Trial(bench.engine, part.train, part.val, trial_config, fold=number)
        alone.append(list(single.epochs()))
        assert [together[place] for place in part.places] == single.val_counts
        single.close()
    weights = [len(part.train) for part in bench.parts]
    for epoch, record in enumerate(records):
        own = [fold[epoch] for fold in alone]
        assert record.epoch == epoch + 1 and record.folds == FOLDS
        mean = sum(w * r.train_loss for w, r in zip(weights, own, strict=True)) / sum(weights)
        assert record.train_loss == pytest.approx(mean)
        assert len({fold.train_loss for fold in own}) == FOLDS
    counts = [counts for counts in together if counts is not None]
    assert records[-1].val_dice == mean_scores(counts).dice


def test_resuming_gives_bit_for_bit_the_uninterrupted_numbers(bench: Workbench, tmp_path: Path) -> None:
    trial_config = config(lora__dropout=0.1, train__epochs=2)
    trial = folded(bench, trial_config)
    whole = []
    for record in trial.epochs():
        if record is not None:
            whole.append(record)
            if record.epoch == 1:
                trial.save(tmp_path / "checkpoint")
    counts = trial.val_counts
    trial.save(tmp_path / "last")
    trial.close()
    resumed = folded(bench, trial_config, tmp_path / "checkpoint")
    rest = [record for record in resumed.epochs() if record is not None]
    resumed.close()
    assert [numbers(record) for record in rest] == [numbers(record) for record in whole[1:]]
    assert resumed.val_counts == counts
    assert not list((tmp_path / "last").rglob("optimizer.safetensors"))
    assert len(list((tmp_path / "last").rglob("adapter_model.safetensors"))) == FOLDS


def test_a_damaged_fold_or_another_number_of_folds_is_refused(bench: Workbench, tmp_path: Path) -> None:
    trial = folded(bench, config())
    epochs = trial.epochs()
    assert [next(epochs) is None for _ in range(FOLDS)] == [True, True, False]
    trial.save(tmp_path / "whole")
    assert next(epochs) is None
    record = trial.record()
    assert (record.epoch, record.folds, record.folds_left) == (2, 1, FOLDS - 1)
    assert sum(counts is not None for counts in trial.val_counts) == len(bench.parts[0].places)
    trial.save(tmp_path / "cut")
    trial.close()
    with pytest.raises(CheckpointError, match="not a checkpoint of a trial with 3 folds"):
        folded(bench, config(), tmp_path / "cut")
    adapter = tmp_path / "whole" / "fold_1" / "adapter" / "adapter_model.safetensors"
    content = bytearray(adapter.read_bytes())
    content[-1] ^= 1
    adapter.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"fold_1/adapter/adapter_model.safetensors is damaged"):
        folded(bench, config(), tmp_path / "whole")


def _worker(rank: int, folder: Path, trial_config: TrialConfig) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2)
    torch.set_num_threads(1)
    settings = lane_settings(folder, raw_high_res=True)
    trial = folded(Workbench.open(settings, read_names(folder), rank=rank, world_size=2), trial_config)
    records = [record for record in trial.epochs() if record is not None]
    torch.save(([numbers(record) for record in records], trial.val_counts), folder / f"rank{rank}.pt")
    trial.close()
    dist.destroy_process_group()


@pytest.mark.slow  # two processes load the model
def test_two_workers_agree_on_every_fold(bench: Workbench, folder: Path) -> None:
    """Two workers with one image each compute what one worker computes with a batch of two."""
    mp.spawn(_worker, args=(folder, config(train__epochs=1)), nprocs=2)
    first, second = (torch.load(folder / f"rank{rank}.pt", weights_only=False) for rank in range(2))
    assert first[1] == second[1] and all(counts is not None for counts in first[1])
    alone = folded(bench, config(train__epochs=1, train__micro_batch_size=2))
    (record,) = [record for record in alone.epochs() if record is not None]
    assert record.micro_batch_size == 2
    alone.close()
    assert record.train_loss == pytest.approx(first[0][0]["train_loss"], rel=1e-4)
    assert record.val_dice == pytest.approx(first[0][0]["val_dice"], abs=5e-3)


def test_what_is_not_finite_in_one_fold_ends_the_trial_and_spares_the_next(bench: Workbench) -> None:
    bad = config(optimizer__lr=1.0, optimizer__max_grad_norm=1e30, lora__alpha_over_r=64, train__epochs=20)
    trial = folded(bench, bad)
    with pytest.raises(NonFiniteError, match="lower learning rate"):
        list(trial.epochs())
    trial.close()
    good = folded(bench, config(train__epochs=1))
    assert [record is None for record in good.epochs()] == [True, True, False]
    good.close()


def test_trials_in_different_folds_validate_their_own_images_at_once(bench: Workbench) -> None:
    """One trial has two images and the other one; they make two batches, and each is scored as it is alone."""
    parts = [(bench.parts[0], [0, 1]), (bench.parts[1], [1])]
    alone, together = Engine(bench.model, max_rank=4), Engine(bench.model, max_rank=4, seats=2)

    def trial(engine: Engine, number: int) -> Trial:
        part, scored = parts[number]
        own = config(train__seed=number, train__ema=0.5 * number)
        return Trial(engine, part.train.only([0]), part.val.only(scored), own)

    wanted = []
    for number in range(2):
        single = trial(alone, number)
        run_epoch([single])
        wanted.append(single.val_counts)
        single.close()
    trials = [trial(together, number) for number in range(2)]
    counted = []
    count_each = together.stepper(trials[0].config).count_each
    together.stepper(trials[0].config).count_each = lambda batch, shape: (  # type: ignore[method-assign]
        counted.append(len(batch.input_ids)) or count_each(batch, shape)  # type: ignore[func-returns-value]
    )
    run_epoch(trials)
    assert counted == [2, 2]
    assert [each.val_counts for each in trials] == wanted and wanted[0][1] != wanted[1][0]
    for each in trials:
        each.close()


@pytest.mark.slow
@pytest.mark.parametrize("late", [0, 1])
def test_two_trials_with_folds_sit_together(bench: Workbench, late: int) -> None:
    """Both train the same fold at a time, or the second is a fold late; each epoch is what it would be alone."""
    configs = [config(train__epochs=1, optimizer__lr=1e-6), config(train__epochs=1, optimizer__lr=3e-6, lora__r=2)]
    wanted = []
    for each in configs:
        trial = folded(bench, each)
        (record,) = [record for record in trial.epochs() if record is not None]
        wanted.append((record, trial.val_counts))
        trial.close()
    engine = Engine(bench.model, max_rank=4, seats=2)
    trials = [FoldedTrial(engine, bench.parts, each) for each in configs]
    records: list[EpochRecord | None] = [None, None]
    for number in range(FOLDS + late):
        sitting = [place for place in range(2) if place * late <= number < FOLDS + place * late]
        for place, outcome in zip(sitting, run_epoch([trials[place].prepared() for place in sitting]), strict=True):
            assert isinstance(outcome, EpochRecord)
            records[place] = trials[place].settled(outcome)
    for record, trial, (other, counts) in zip(records, trials, wanted, strict=True):
        assert record is not None and record.train_loss == pytest.approx(other.train_loss, rel=1e-5)
        assert trial.val_counts == counts
        trial.close()
