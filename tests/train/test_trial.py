"""The SFT loop on the tiny preset: exact resume, honest failure, an untouched base, the same step on any workers."""

import dataclasses
import json
import math
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
import torch.nn.functional as F
from safetensors.torch import load_file

from tests.train.bench import lane_settings
from tune_sa2va.config import RECIPE, Augment, TrialConfig
from tune_sa2va.data.split_file import read_names
from tune_sa2va.errors import CheckpointError, DeadGradientError, NonFiniteError
from tune_sa2va.evaluate.examples import Examples
from tune_sa2va.evaluate.metrics import count, mean_scores
from tune_sa2va.evaluate.predict import Example, predict
from tune_sa2va.train import checkpoint
from tune_sa2va.train.checkpoint_state import Progress
from tune_sa2va.train.engine import Engine
from tune_sa2va.train.folded_trial import FoldedTrial
from tune_sa2va.train.liveness import Liveness, frozen_validation
from tune_sa2va.train.loss import combo_loss
from tune_sa2va.train.optimizer import FlatAdamW
from tune_sa2va.train.records import EpochRecord
from tune_sa2va.train.trial import Trial
from tune_sa2va.train.workbench import Workbench

CLOCK = {"it_per_s", "seconds", "train_seconds", "val_seconds", "seated"}


def numbers(record: EpochRecord) -> dict[str, object]:
    return {name: value for name, value in dataclasses.asdict(record).items() if name not in CLOCK}


def config(**values: object) -> TrialConfig:
    paths = {name.replace("__", "."): value for name, value in values.items()}
    return RECIPE.replace({"train.epochs": 3, "lora.r": 4, "optimizer.lr": 1e-3, **paths})


def run(bench: Workbench, trial_config: TrialConfig) -> list[EpochRecord]:
    trial = bench.trial(trial_config)
    try:
        return list(trial.epochs())
    finally:
        trial.close()


@pytest.mark.parametrize(("full", "ema"), [([], 0.0), (["text_hidden_fcs", "mask_decoder"], 0.95)])
def test_resuming_gives_bit_for_bit_the_uninterrupted_numbers(
    bench: Workbench, tmp_path: Path, full: list[str], ema: float
) -> None:
    trial_config = config(lora__dropout=0.1, train__full_modules=full, train__epochs=2, train__ema=ema)
    whole = run(bench, trial_config)
    trial = bench.trial(trial_config)
    first = next(trial.epochs())
    trial.save(tmp_path / "checkpoint")
    trial.close()
    resumed = bench.trial(trial_config, resume_from=tmp_path / "checkpoint")
    rest = list(resumed.epochs())
    resumed.close()
    assert [numbers(record) for record in (first, *rest)] == [numbers(record) for record in whole]
    assert [record.epoch for record in rest] == [2]


def test_a_checkpoint_is_of_the_moment_when_it_was_begun(
    bench: Workbench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However far training is when it is written. No more than a few are copied at a time."""
    write, go = checkpoint.save_adapter, threading.Event()

    def write_later(*given: Any, **named: Any) -> None:
        assert go.wait(10)
        write(*given, **named)

    monkeypatch.setattr(checkpoint, "save_adapter", write_later)
    whole = run(bench, config())
    trial = bench.trial(config())
    epochs = trial.epochs()
    next(epochs)
    finish = [trial.begin_save(tmp_path / str(number)) for number in range(checkpoint._AT_A_TIME)]
    next(epochs)
    with ThreadPoolExecutor(1) as thread:
        late = thread.submit(trial.begin_save, tmp_path / "late")
        with pytest.raises(TimeoutError):
            late.result(0.3)
        go.set()
        for wait in (*finish, late.result(10)):
            wait()
    trial.close()
    for name, done in (("0", 1), (str(len(finish) - 1), 1), ("late", 2)):
        resumed = bench.trial(config(), resume_from=tmp_path / name)
        assert [numbers(record) for record in resumed.epochs()] == [numbers(record) for record in whole[done:]]
        resumed.close()


def test_training_lowers_the_loss_and_leaves_the_base_untouched(bench: Workbench) -> None:
    before = {name: tensor.clone() for name, tensor in bench.model.state_dict().items()}
    records = run(bench, config(train__full_modules=["mask_decoder"]))
    assert records[-1].train_loss < records[0].train_loss
    assert records[-1].lr < records[0].lr
    after = bench.model.state_dict()
    assert after.keys() == before.keys()
    assert all(torch.equal(after[name], before[name]) for name in before)


def test_a_loss_that_is_not_finite_fails_the_trial_and_spares_the_next(bench: Workbench) -> None:
    good = run(bench, config(train__epochs=1))
    with pytest.raises(NonFiniteError, match="lower learning rate"):
        run(bench, config(optimizer__lr=1.0, optimizer__max_grad_norm=1e30, lora__alpha_over_r=64, train__epochs=30))
    assert [numbers(r) for r in run(bench, config(train__epochs=1))] == [numbers(r) for r in good]


def test_the_answers_loss_is_part_of_the_sum(bench: Workbench) -> None:
    without, with_lm = run(bench, config(train__epochs=1)), run(bench, config(train__epochs=1, loss__lm=0.5))
    assert without[0].train_loss_lm == 0
    assert with_lm[0].train_loss_lm > 0


def test_losses_for_thin_trees_are_part_of_the_sum_where_they_have_a_weight(bench: Workbench) -> None:
    without = run(bench, config(train__epochs=1))[0]
    thin = run(bench, config(train__epochs=1, loss__cldice=0.5, loss__focal_tversky=0.25))[0]
    assert (without.train_loss_cldice, without.train_loss_focal_tversky) == (0, 0)
    parts = thin.train_loss_dice + thin.train_loss_focal + 0.5 * thin.train_loss_bce
    parts += 0.5 * thin.train_loss_cldice + 0.25 * thin.train_loss_focal_tversky
    assert thin.train_loss_cldice > 0 and thin.train_loss_focal_tversky > 0
    assert thin.train_loss == pytest.approx(parts, rel=1e-5)


def test_the_average_of_the_weights_is_scored_and_saved(bench: Workbench, tmp_path: Path) -> None:
    """Compared with an average computed by hand after each step. The steps are the same as without an average."""
    plain, averaged = config(train__epochs=1), config(train__epochs=1, train__ema=0.5)
    without = run(bench, plain)[0]
    trial = bench.trial(averaged)
    optimizer, values = trial.stepper.optimizer, trial.stepper.store.values
    by_hand, step = values.clone(), optimizer.step

    def step_and_average() -> None:
        step()
        done = float(optimizer.steps)
        kept = min(0.5, (1 + done) / (10 + done))
        by_hand.mul_(kept).add_(values * (1 - kept))

    optimizer.step = step_and_average  # type: ignore[method-assign]
    record = next(trial.epochs())
    last = values.clone()
    trial.save(tmp_path)
    assert torch.equal(values, last)  # training would continue from the weights themselves
    trial.close()
    assert (record.train_loss, record.grad_norm) == (without.train_loss, without.grad_norm)
    saved = load_file(tmp_path / "adapter" / "adapter_model.safetensors")
    wanted = trial.stepper.store.views(by_hand, 4)
    assert all(torch.allclose(saved[name], value, rtol=1e-5, atol=1e-7) for name, value in wanted.items())


def test_a_batch_of_two_is_two_forwards_of_one(bench: Workbench) -> None:
    together = run(bench, config(train__epochs=1, train__micro_batch_size=2))
    assert [record.micro_batch_size for record in together] == [2]
    apart = run(bench, config(train__epochs=1, train__accumulation_steps=2))
    for one, other in zip(together, apart, strict=True):
        assert one.train_loss == pytest.approx(other.train_loss, rel=1e-6)


def test_a_damaged_checkpoint_is_recognised(bench: Workbench, tmp_path: Path) -> None:
    trial = bench.trial(config())
    next(trial.epochs())
    trial.save(tmp_path)
    trial.close()
    file = tmp_path / "optimizer.safetensors"
    file.write_bytes(file.read_bytes()[:-7])
    with pytest.raises(CheckpointError, match=r"optimizer\.safetensors is damaged"):
        bench.trial(config(), resume_from=tmp_path)
    (tmp_path / "state.json").unlink()
    with pytest.raises(CheckpointError, match="incomplete"):
        bench.trial(config(), resume_from=tmp_path)


def test_the_last_epoch_leaves_the_adapter_alone(bench: Workbench, tmp_path: Path) -> None:
    """It is not trained further; a trial that resumes from it has no epochs left."""
    trial = bench.trial(config(train__epochs=2))
    for number, _ in enumerate(trial.epochs()):
        trial.save(tmp_path / str(number))
    trial.close()
    has_moments = [(tmp_path / name / "optimizer.safetensors").exists() for name in "01"]
    assert has_moments == [True, False]
    ended = bench.trial(config(train__epochs=2), resume_from=tmp_path / "1")
    assert list(ended.epochs()) == []
    ended.close()


def test_a_checkpoint_of_another_configuration_is_refused(bench: Workbench, tmp_path: Path) -> None:
    trial = bench.trial(config())
    next(trial.epochs())
    trial.save(tmp_path)
    trial.close()
    with pytest.raises(CheckpointError, match="another configuration"):
        bench.trial(config(lora__dropout=0.05), resume_from=tmp_path)


def test_a_matrix_without_gradient_is_named_after_three_steps() -> None:
    alive, dead, head = torch.zeros(2), torch.ones(2), torch.zeros(2)
    watch = Liveness({"a.lora_B.weight": alive, "b.lora_B.weight": dead, "head.weight": head})
    for step in range(3):
        watch.before_step(step, {"a.lora_B.weight": torch.ones(2), "b.lora_B.weight": torch.zeros(2)})
        alive -= 0.1
        dead *= 0.99  # weight decay changes it nevertheless
        if step < 2:
            watch.after_step(step)
    with pytest.raises(DeadGradientError, match=r"1 of 2 .*: b\.lora_B"):
        watch.after_step(2)


def test_a_matrix_that_does_not_move_is_named_too() -> None:
    parameter = torch.zeros(2)
    watch = Liveness({"a.lora_A.weight": parameter})
    watch.before_step(0, {"a.lora_A.weight": torch.ones(2)})
    with pytest.raises(DeadGradientError, match=r"1 of 1 .*: a\.lora_A"):
        watch.after_step(2)


def test_a_frozen_validation_is_a_warning_or_an_error() -> None:
    assert frozen_validation(None, 0.5, moved=False) == ""
    assert frozen_validation(0.5, 0.25, moved=False) == ""
    assert "second epoch" in frozen_validation(0.5, 0.5, moved=True)
    with pytest.raises(DeadGradientError, match="no trained tensor has moved"):
        frozen_validation(0.5, 0.5, moved=False)


def test_a_trial_that_trains_nothing_is_stopped_after_three_steps(bench: Workbench) -> None:
    """Without a weight on the answer's loss, no loss reaches lm_head."""
    with pytest.raises(DeadGradientError, match=r"2 of .*lm_head"):
        run(bench, config(lora__target_modules=["q_proj", "lm_head"]))


def test_an_epochs_numbers_are_those_of_its_images(bench: Workbench, monkeypatch: pytest.MonkeyPatch) -> None:
    """The learning rate is too small to change the scores, so the epoch's numbers equal those of evaluation."""
    monkeypatch.setattr(Engine, "validation_batch", 3)  # of two images: the batch is filled up
    norms, step = [], FlatAdamW.step

    def noted(self: FlatAdamW) -> None:
        norms.append(float(torch.linalg.vector_norm(self.gradients[:-1])))
        step(self)

    monkeypatch.setattr(FlatAdamW, "step", noted)
    settings = config(optimizer__lr=1e-9, loss__lm=0.25, train__micro_batch_size=2, train__epochs=1, loss__cldice=0.5)
    with closing(bench.trial(settings)) as trial:
        (record,) = trial.epochs()
    counts = {}
    for name, examples in (("train", bench.train), ("val", bench.val)):
        logits = [predict(bench.model, examples[index]) for index in range(len(examples))]
        truths = [examples[index].truth for index in range(len(examples))]
        counts[name] = [count((x > 0).numpy(), y.numpy()) for x, y in zip(logits, truths, strict=True)]
        if name == "train":
            parts = sum(
                torch.stack(combo_loss(x, y.float(), settings.loss)) for x, y in zip(logits, truths, strict=True)
            )
    means = (parts / len(bench.train)).tolist()
    answers = [answer_loss(bench, index) for index in range(len(bench.train))]
    lm = sum(answers) / len(answers)
    found = (record.train_loss, record.train_loss_dice, record.train_loss_focal, record.train_loss_bce)
    found += (record.train_loss_cldice, record.train_loss_focal_tversky)
    assert found == pytest.approx((means[0] + 0.25 * lm, *means[1:]), rel=1e-4)
    assert record.train_loss_lm == pytest.approx(lm, rel=1e-4)
    assert trial.val_counts == counts["val"]
    scores = mean_scores(counts["val"])
    assert (record.val_dice, record.val_iou) == (scores.dice, scores.iou)
    assert (record.val_recall, record.val_precision) == (scores.recall, scores.precision)
    assert record.train_dice == mean_scores(counts["train"]).dice
    assert len(norms) == -(-len(bench.train) // 2)
    assert record.grad_norm == pytest.approx(sum(norms) / len(norms), rel=1e-5)


def test_weight_decay_leaves_alone_what_no_loss_reaches(bench: Workbench) -> None:
    decay = {"optimizer.weight_decay": 1.0, "optimizer.lr": 0.1, "train.full_modules": ["mask_decoder"]}
    settings = config(train__epochs=1, train__accumulation_steps=len(bench.train)).replace(decay)
    with closing(bench.trial(settings)) as trial:
        before = {name: value.clone() for name, value in trial._parameters.items() if "iou_prediction_head" in name}
        list(trial.epochs())
        assert before and all(torch.equal(trial._parameters[name], value) for name, value in before.items())


def answer_loss(bench: Workbench, index: int) -> float:
    """Mean cross entropy of the answer's tokens, as transformers shifts labels."""
    example = bench.train[index]
    tokens = example.tokens
    with torch.no_grad():
        embeds = bench.model.embed_text(tokens.input_ids[None], example.features.image_tokens[None], tokens.image_start)
        scores = bench.model.logits(bench.model.hidden_states(embeds))[0]
    return F.cross_entropy(scores[:-1], tokens.labels[1:], ignore_index=-100).item()


def test_the_learning_rate_goes_on_over_epochs_and_restarts(bench: Workbench, tmp_path: Path) -> None:
    settings = config(optimizer__warmup_fraction=0.5, train__epochs=3)
    with closing(bench.trial(settings)) as trial:
        first = next(trial.epochs())
        trial.save(tmp_path)
    with closing(bench.trial(settings, resume_from=tmp_path)) as resumed:
        second, third = resumed.epochs()
    # Of 12 steps on 4 images 6 warm up; the epochs end with steps 3, 7 and 11, counted from 0.
    assert len(bench.train) == 4 and first.lr == pytest.approx(1e-3 * 4 / 7)
    cosine = [0.5e-3 * (1 + math.cos(math.pi * place / 6)) for place in (1, 5)]
    assert [second.lr, third.lr] == pytest.approx(cosine, rel=1e-4)


class EnoughSeenError(Exception):
    """Raised once a test has seen what it needs, so that no step is computed."""


class Noting:
    """Training images that record the order in which the first chunk of an epoch reads them, and then end the epoch."""

    def __init__(self, examples: Examples) -> None:
        self._examples = examples
        self.order: list[int] = []

    def __len__(self) -> int:
        return 12

    def in_epoch(self, epoch: int, *, seed: int, augment: Augment) -> "Noting":
        return self

    def on_cpu(self, index: int) -> Example:
        self.order.append(index)
        if len(self.order) == len(self):
            raise EnoughSeenError
        return self._examples.on_cpu(0)


def begin(trial: Trial | FoldedTrial, epoch: int) -> None:
    """Trains an epoch, as if those before it were done."""
    assert isinstance(trial, Trial)
    trial._progress = Progress(epoch=epoch - 1, step=0, val_dice=None)
    next(trial.epochs())


def order_of(bench: Workbench, *, seed: int, epoch: int) -> list[int]:
    noting = Noting(bench.train)
    part = dataclasses.replace(bench.parts[0], train=noting)
    whole = config(train__seed=seed, train__accumulation_steps=12)
    with (
        closing(dataclasses.replace(bench, parts=(part,)).trial(whole)) as trial,
        pytest.raises(EnoughSeenError),
    ):
        begin(trial, epoch)
    return noting.order


def test_each_epoch_shows_every_image_once_in_an_order_of_its_seed(bench: Workbench) -> None:
    orders = [order_of(bench, seed=seed, epoch=epoch) for seed in (0, 1) for epoch in (1, 2)]
    assert all(sorted(order) == list(range(12)) for order in orders)
    assert len({tuple(order) for order in orders}) == 4
    assert order_of(bench, seed=1, epoch=2) == orders[3]


def test_each_worker_draws_dropout_of_its_own(bench: Workbench, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first dropout mask of each worker, seed and epoch: reproducible, and no two are equal."""
    drawn: list[torch.Tensor] = []
    layers = bench.engine.layers
    keep = layers._keep

    def noted(*args: Any) -> torch.Tensor:
        drawn.append(keep(*args))
        raise EnoughSeenError

    def draw(rank: int, seed: int, epoch: int) -> torch.Tensor:
        worker = dataclasses.replace(bench, rank=rank, world_size=2)
        settings = config(lora__dropout=0.5, train__seed=seed)
        with closing(worker.trial(settings)) as trial, pytest.raises(EnoughSeenError):
            begin(trial, epoch)
        return drawn[-1]

    monkeypatch.setattr(layers, "_keep", noted)
    masks = [draw(rank, seed, epoch) for rank in (0, 1) for seed in (0, 1) for epoch in (1, 2)]
    assert len({tuple(mask.flatten().tolist()) for mask in masks}) == len(masks)
    assert torch.equal(draw(1, 1, 2), masks[-1])


def _worker(rank: int, folder: Path, trial_config: TrialConfig) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder / 'rendezvous'}", rank=rank, world_size=2)
    settings = lane_settings(folder)
    records = run(Workbench.open(settings, read_names(folder), rank=rank, world_size=2), trial_config)
    (folder / f"rank{rank}.json").write_text(json.dumps([dataclasses.asdict(record) for record in records]))
    dist.destroy_process_group()


def test_two_workers_do_what_one_does_with_twice_the_batch(bench: Workbench, folder: Path) -> None:
    """Gradients are summed over gloo; losses agree to 1e-5, scores exactly."""
    mp.spawn(_worker, args=(folder, config(train__epochs=2)), nprocs=2)
    alone = run(bench, config(train__epochs=2, train__micro_batch_size=2))
    ranks = [json.loads((folder / f"rank{rank}.json").read_text()) for rank in (0, 1)]
    for records in ranks:
        for one, other in zip(alone, records, strict=True):
            for name in (
                "train_loss",
                "train_loss_dice",
                "train_loss_focal",
                "train_loss_bce",
                "grad_norm",
                "val_dice",
            ):
                assert other[name] == pytest.approx(getattr(one, name), rel=1e-5, abs=1e-5), name
