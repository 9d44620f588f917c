"""Steps that run an image encoder: as on cached features at a rate near 0, exact on resume and with two workers."""

import dataclasses
import json
from contextlib import closing
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from safetensors.torch import load_file

from tests.train.bench import lane_settings
from tests.train.test_trial import numbers, run
from tune_sa2va.config import RECIPE, TrialConfig
from tune_sa2va.data.split_file import read_names
from tune_sa2va.errors import UserError
from tune_sa2va.evaluate.examples import Examples
from tune_sa2va.evaluate.members import Members
from tune_sa2va.evaluate.metrics import mean_scores
from tune_sa2va.evaluate.out_of_fold import out_of_fold
from tune_sa2va.evaluate.threshold import DEFAULT_THRESHOLD, counts_at
from tune_sa2va.train.engine import Engine
from tune_sa2va.train.epoch import run_epoch
from tune_sa2va.train.records import EpochRecord
from tune_sa2va.train.trial import Trial
from tune_sa2va.train.workbench import Workbench

EVERYTHING = {"encoder.sam2": "all", "encoder.vision": "all", "train.full_modules": ["neck"]}
SOME = {"encoder.sam2": "late", "encoder.vision": "mlp1", "train.full_modules": ["neck"]}


def open_bench(folder: Path, *, rank: int = 0, world_size: int = 1) -> Workbench:
    settings = lane_settings(folder, images=5).model_copy(update={"runs_sam2": True, "runs_vision": True})
    return Workbench.open(settings, read_names(folder), rank=rank, world_size=world_size)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("bench")


@pytest.fixture(scope="module")
def bench(folder: Path) -> Workbench:
    lane_settings(folder, images=5)
    return open_bench(folder)


def config(**values: object) -> TrialConfig:
    return RECIPE.replace({"train.epochs": 1, "lora.r": 2, "encoder.r": 2, "optimizer.lr": 1e-3, **values})


@pytest.mark.parametrize(
    "chosen",
    [
        pytest.param({"encoder.sam2": "late"}, marks=pytest.mark.slow),
        pytest.param({"encoder.vision": "mlp1"}, marks=pytest.mark.slow),
        EVERYTHING,
    ],
)
def test_a_step_that_runs_an_encoder_begins_where_the_cached_one_does(
    bench: Workbench, chosen: dict[str, object]
) -> None:
    """With a learning rate near 0, an epoch's loss and scores are those on cached features."""
    still = config(**{"optimizer.lr": 1e-12})
    cached, fresh = run(bench, still)[0], run(bench, still.replace(chosen))[0]
    assert fresh.train_loss == pytest.approx(cached.train_loss, rel=1e-5)
    assert fresh.val_dice == pytest.approx(cached.val_dice, abs=1e-5)


def test_the_rate_of_the_encoders_is_theirs_alone(bench: Workbench, tmp_path: Path) -> None:
    """AdamW's first step changes every element of B by its learning rate."""
    trial = bench.trial(config(**{"encoder.sam2": "late", "encoder.lr_factor": 5.0, "train.accumulation_steps": 64}))
    next(trial.epochs())
    trial.save(tmp_path)
    trial.close()
    steps: dict[bool, list[float]] = {False: [], True: []}
    for name, value in load_file(tmp_path / "adapter" / "adapter_model.safetensors").items():
        if ".lora_B." in name and ".memory_attention." not in name:
            steps[".image_encoder." in name].append(float(value.abs().max()))
    assert steps[False] == pytest.approx([1e-3] * len(steps[False]), rel=0.1)
    assert steps[True] == pytest.approx([5e-3] * len(steps[True]), rel=0.1) and len(steps[True]) > 20


@pytest.mark.slow
def test_resuming_gives_bit_for_bit_the_uninterrupted_numbers(bench: Workbench, tmp_path: Path) -> None:
    moves = {"train.epochs": 2, "data.strength": 1.0, "lora.dropout": 0.1, "train.ema": 0.9}
    both = config(**SOME, **moves)
    trial = bench.trial(both)
    epochs = trial.epochs()
    next(epochs)
    trial.save(tmp_path)
    second = next(epochs)
    trial.close()
    resumed = bench.trial(both, resume_from=tmp_path)
    rest = list(resumed.epochs())
    resumed.close()
    assert [numbers(record) for record in rest] == [numbers(second)]


@pytest.mark.slow
def test_both_kinds_of_trials_in_one_lane(bench: Workbench) -> None:
    before = {name: tensor.clone() for name, tensor in bench.model.state_dict().items()}
    first = run(bench, config())
    moved = run(bench, config(**EVERYTHING))
    assert [numbers(record) for record in run(bench, config())] == [numbers(record) for record in first]
    assert moved[0].val_dice != first[0].val_dice
    assert all(torch.equal(tensor, before[name]) for name, tensor in bench.model.state_dict().items())


@pytest.mark.slow
def test_images_look_another_way_in_every_epoch_and_the_same_in_every_run(bench: Workbench) -> None:
    chosen = config(**{"encoder.sam2": "late", "optimizer.lr": 1e-5, "train.epochs": 2})
    still, viewed = run(bench, chosen), run(bench, chosen.replace({"data.strength": 0.5}))
    assert still[0].train_loss == pytest.approx(still[1].train_loss, rel=1e-3)
    assert viewed[0].train_loss != pytest.approx(viewed[1].train_loss, rel=1e-2)
    assert viewed[0].val_dice == pytest.approx(still[0].val_dice, abs=1e-3)  # validation images are not augmented
    again = run(bench, chosen.replace({"data.strength": 0.5}))
    assert [numbers(record) for record in again] == [numbers(record) for record in viewed]


def test_a_saved_adapter_scores_what_the_trial_recorded(bench: Workbench, tmp_path: Path) -> None:
    """The adapter is loaded onto the model's modules, and its encoders compute features image by image."""
    trial = bench.trial(config(**SOME, **{"optimizer.lr": 3e-3}))
    record = next(trial.epochs())
    trial.save(tmp_path)
    trial.close()
    members = Members.attach(bench.model, [tmp_path / "adapter"])
    assert isinstance(bench.val, Examples)
    counts = [counts_at(each, DEFAULT_THRESHOLD) for each in out_of_fold(bench.model, members, bench.val)]
    members.detach()
    assert mean_scores(counts).dice == pytest.approx(record.val_dice, abs=1e-6)


def test_an_encoder_that_was_let_go_is_named(folder: Path) -> None:
    bench = Workbench.open(lane_settings(folder, images=5), read_names(folder), rank=0, world_size=1)
    for chosen in ({"encoder.sam2": "late"}, {"encoder.vision": "mlp1"}, {"train.full_modules": ["neck"]}):
        with pytest.raises(UserError, match="this lane released it"):
            bench.trial(config(**chosen))


def _worker(rank: int, folder: Path, trial_config: TrialConfig) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder / 'rendezvous'}", rank=rank, world_size=2)
    records = run(open_bench(folder, rank=rank, world_size=2), trial_config)
    (folder / f"rank{rank}.json").write_text(json.dumps([dataclasses.asdict(record) for record in records]))
    dist.destroy_process_group()


@pytest.mark.slow
def test_two_workers_do_what_one_does_with_twice_the_batch(bench: Workbench, folder: Path) -> None:
    chosen = config(**EVERYTHING)
    mp.spawn(_worker, args=(folder, chosen), nprocs=2)
    alone = run(bench, chosen.replace({"train.micro_batch_size": 2}))
    for rank in (0, 1):
        (record,) = json.loads((folder / f"rank{rank}.json").read_text())
        for name in ("train_loss", "grad_norm", "val_dice"):
            assert record[name] == pytest.approx(getattr(alone[0], name), rel=1e-4, abs=1e-5), name


@pytest.mark.slow
def test_trials_that_run_encoders_sit_together(bench: Workbench) -> None:
    """Each with views and noise of its own. At a rate at which the noise of sums stays noise."""
    chosen = {"encoder.sam2": "late", "encoder.vision": "mlp1", "data.strength": 1.0, "optimizer.lr": 1e-6}
    configs = [config(**chosen), config(**chosen, **{"lora.r": 1, "encoder.alpha_over_r": 9.0, "train.seed": 5})]
    train, val = bench.train.only([0, 1]), bench.val.only([0])
    records = []
    for each in configs:
        with closing(Trial(Engine(bench.model, max_rank=2), train, val, each)) as trial:
            records += list(trial.epochs())
    engine = Engine(bench.model, max_rank=2, seats=2)
    trials = [Trial(engine, train, val, each) for each in configs]
    together = run_epoch(trials)
    for trial in trials:
        trial.close()
    for one, other in zip(records, together, strict=True):
        assert isinstance(other, EpochRecord)
        wanted = {name: value for name, value in numbers(one).items() if name != "warning"}
        assert {name: numbers(other)[name] for name in wanted} == pytest.approx(wanted, rel=1e-4, abs=1e-6)
    assert records[0].train_loss != pytest.approx(records[1].train_loss, rel=1e-2)
