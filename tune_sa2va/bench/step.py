"""Measures how fast training and validation are on one device, with the same loop that a lane runs."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor

from tune_sa2va.bench.images import MadeUpImages
from tune_sa2va.bench.kernels import Kernel, kernels_of
from tune_sa2va.bench.machine import matmul_tflops, median_ms, peak_gib, synchronize
from tune_sa2va.config import RECIPE, ModelSettings, TrialConfig
from tune_sa2va.errors import TrialFailure
from tune_sa2va.evaluate.batch import Batch, Shape, hidden_rows
from tune_sa2va.model.encoding import release_encoders
from tune_sa2va.model.locate import model_folder
from tune_sa2va.model.lora import TrialAdapters, attached
from tune_sa2va.model.sa2va import Sa2VA
from tune_sa2va.train.engine import Engine
from tune_sa2va.train.epoch import run_epoch
from tune_sa2va.train.feed import Fed
from tune_sa2va.train.graphs import Graphs
from tune_sa2va.train.memory import estimate_memory
from tune_sa2va.train.records import EpochRecord
from tune_sa2va.train.step import Stepper
from tune_sa2va.train.trial import Trial
from tune_sa2va.train.workbench import open_model


@dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """One case to measure: images of one size, and adapters of rank `r`, laid out for ranks up to `max_rank`.

    seats: trials that share the steps; they differ in their seeds. fields: further fields of the trials, as (dotted
        path, value).
    """

    height: int
    width: int
    r: int
    max_rank: int
    train_images: int
    val_images: int
    micro_batch_size: int = 1
    seats: int = 1
    dropout: float = 0.0
    checkpointed: bool = False
    fields: tuple[tuple[str, Any], ...] = ()

    @property
    def config(self) -> TrialConfig:
        """The recipe with this rank and `fields`."""
        return RECIPE.replace(
            {
                "lora.r": self.r,
                "lora.dropout": self.dropout,
                "train.epochs": 3,
                "train.micro_batch_size": self.micro_batch_size,
                **dict(self.fields),
            }
        )


@dataclass(frozen=True, slots=True)
class Bench:
    """A loaded model, the seconds of loading it, and the device's speed in large matrix products."""

    model: Sa2VA
    settings: ModelSettings
    device: torch.device
    seconds: dict[str, float]
    ceiling_tflops: float

    @property
    def name(self) -> str:
        """The model's preset or folder."""
        return self.settings.model

    @classmethod
    def open(
        cls, settings: ModelSettings, device: torch.device, *, runs_sam2: bool = False, runs_vision: bool = False
    ) -> "Bench":
        """Loads the model, and releases the encoders that steps do not run, as a lane does before training."""
        started = time.perf_counter()
        model = open_model(settings, device)
        release_encoders(model, sam2=not runs_sam2, vision=not runs_vision)
        synchronize(device)
        seconds = {"load_model": round(time.perf_counter() - started, 2)}
        return cls(model, settings, device, seconds, matmul_tflops(device, model.no_mem_embed.dtype))


def measure(bench: Bench, case: Case, *, eager: bool = False) -> dict[str, Any]:
    """The numbers of one case. The first epoch compiles and captures; the second is timed.

    it_per_s: images of all seats that are trained on in a second; times per image are those of all seats, too.
    reserved_gib: peak over both epochs. later_reserved_gib: peak of the second epoch.
    """
    if bench.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(bench.device)
    started = time.perf_counter()
    engine = Engine(bench.model, max_rank=case.max_rank, eager=eager, seats=case.seats)
    engine.checkpointed = case.checkpointed
    train, val = (
        MadeUpImages.make(bench.model, bench.name, height=case.height, width=case.width, count=count)
        for count in (case.train_images, case.val_images)
    )
    trials: list[Trial] = []
    try:
        for seed in range(case.seats):
            trials.append(Trial(engine, train, val, case.config.replace({"train.seed": seed})))
        opened = time.perf_counter()
        _epoch(trials)
        first, peak = time.perf_counter(), peak_gib(bench.device)
        record, num_graphs = _epoch(trials), trials[0].num_graphs
        later = peak_gib(bench.device)  # an epoch resets the peak, so that of the first one was read above
    finally:
        for trial in trials:
            trial.close()
    images = {"train": case.train_images * case.seats, "val": case.val_images * case.seats}
    it_per_s = images["train"] / record.train_seconds
    flops = step_flops(bench.model, train.num_tokens)
    result = {
        "height": case.height, "width": case.width, "tokens": train.num_tokens, "r": case.r,
        "max_rank": case.max_rank, "micro_batch_size": case.micro_batch_size, "seats": case.seats, "eager": eager,
        "dropout": case.dropout, "checkpointed": case.checkpointed, "fields": dict(case.fields),
        "estimate_gib": estimate_memory(
            model_folder(bench.name), case.config, precision=bench.settings.precision,
            on_gpu=bench.device.type == "cuda", width_px=case.width, height_px=case.height, largest_r=case.max_rank,
            checkpointed=case.checkpointed, fp8_copies=bench.settings.fp8_copies, any_dropout=case.dropout > 0,
            seats=case.seats,
        ).step_gib,
        "it_per_s": it_per_s, "tflops": it_per_s * flops / 1e12,
        "share_of_ceiling": it_per_s * flops / 1e12 / bench.ceiling_tflops,
        "train_ms_per_image": 1e3 / it_per_s,
        "val_ms_per_image": 1e3 * record.val_seconds / images["val"],
        "val_244_over_train_976": (record.val_seconds / images["val"] * 244)
        / (record.train_seconds / images["train"] * 976),
        "start_s": opened - started, "first_epoch_s": first - opened,
        "graphs": num_graphs, "train_loss": record.train_loss, **later,
        "reserved_gib": max(peak["reserved_gib"], later["reserved_gib"]), "later_reserved_gib": later["reserved_gib"],
    }  # fmt: skip
    engine.forget()
    return result


def _epoch(trials: list[Trial]) -> EpochRecord:
    """Runs an epoch of trials that sit together. Returns the first one's record."""
    outcomes = run_epoch(trials)
    for outcome in outcomes:
        if isinstance(outcome, TrialFailure):
            raise outcome
    return cast(EpochRecord, outcomes[0])


def _images(config: TrialConfig, source: MadeUpImages) -> MadeUpImages:
    """The images, with pixels if a trial of `config` runs an encoder in its steps."""
    if not (config.runs_sam2 or config.runs_vision):
        return source
    return source.with_pixels(sam2=config.runs_sam2, vision=config.runs_vision, strength=config.data.strength)


def step_flops(model: Sa2VA, tokens: int) -> float:
    """Least floating point operations of a step: the language model's matrix products, forward and backward.

    Per weight and token, 2 forward and 2 backward (frozen weights get no gradient), plus the two products of causal
    attention.
    """
    llm = model.dims.language_model
    weights = sum(weight.numel() for weight in model.language_model.model.layers.parameters())
    attention = 2 * 2 * tokens**2 / 2 * llm.hidden_size * llm.num_hidden_layers
    return 2 * 2 * weights * tokens + 3.5 * attention


@dataclass(frozen=True, slots=True)
class _Standing:
    """A stepper with an adapter in each seat, and a batch of features with an image for each; `whole`: with pixels, if
    the trials run an encoder."""

    engine: Engine
    stepper: Stepper
    features: Fed
    whole: Fed


@contextmanager
def _standing(bench: Bench, case: Case) -> Iterator[_Standing]:
    engine = Engine(bench.model, max_rank=case.max_rank, seats=case.seats)
    engine.checkpointed = case.checkpointed
    stepper, config = engine.stepper(case.config), case.config
    source = MadeUpImages.make(bench.model, bench.name, height=case.height, width=case.width, count=1)
    adapters = attached(bench.model, config, stepper.store)
    adapters[0].train(True)
    for seat in range(stepper.store.seats):
        stepper.reset(config.loss, config.optimizer, seat=seat)
    feed = engine.feed(with_answer=False)
    (features,) = feed.whole(source, [0], batch_size=stepper.store.seats)
    (whole,) = feed.whole(_images(config, source), [0], batch_size=stepper.store.seats)
    yield _Standing(engine, stepper, features, whole)
    for each in adapters:
        each.detach()
    engine.forget()


def parts(bench: Bench, case: Case) -> dict[str, float]:
    """Milliseconds of each part of a step, with an image for each seat, captured separately (eager on a CPU)."""
    with _standing(bench, case) as standing:
        stepper, fed, layers = standing.stepper, standing.features, standing.engine.layers
        graphs = Graphs(bench.device, enabled=bench.device.type == "cuda")

        def llm(batch: Batch, shape: Shape) -> Tensor:
            return hidden_rows(bench.model, layers, batch, shape, stepper.store, checkpointed=case.checkpointed)

        def llm_and_back(batch: Batch, shape: Shape) -> Tensor:
            hidden = llm(batch, shape)
            leaves = list(stepper.store.leaves.values())
            torch.autograd.grad(hidden.float().square().sum(), leaves, allow_unused=True)
            return hidden.detach()

        def timed(name: str, function: Any) -> float:
            return median_ms(lambda: graphs.run(name, function, fed.batch, fed.shape), bench.device, repeats=20)

        with torch.no_grad():
            forward = timed("llm", llm)
        both = timed("llm and back", llm_and_back)
        batch, shape = standing.whole.batch, standing.whole.shape
        whole = median_ms(lambda: stepper.accumulate(batch, shape, share=1.0), bench.device, repeats=20)
        update = median_ms(lambda: stepper.update(0.0), bench.device, repeats=20)
    return {
        "llm_forward": forward, "llm_backward": both - forward, "encoders_masks_and_loss_both_ways": whole - both,
        "gradients_of_a_batch": whole, "optimizer": update,
    }  # fmt: skip


def profile(bench: Bench, case: Case) -> list[Kernel]:
    """The kernels of a whole step with an image for each seat, as `kernels_of`."""
    with _standing(bench, case) as standing:

        def one_step() -> None:
            standing.stepper.accumulate(standing.whole.batch, standing.whole.shape, share=1.0)
            standing.stepper.update(0.0)

        for _ in range(3):  # compiled, captured, replayed
            one_step()
        return kernels_of(one_step, bench.device)


def loss_curves(bench: Bench, case: Case, *, steps: int = 50) -> dict[str, Any]:
    """Losses of the first steps, captured and eager, each compared with eager ones in fp32 with the same weights.

    Compiled kernels round less often than eager ones, so the two differ. Captured steps are right if they are no
    farther from fp32 than the eager steps are. On a CPU all three are equal.
    """
    curves = {name: _curve(bench, case, steps, eager=name == "eager") for name in ("captured", "eager")}
    dtypes = {name: tensor.dtype for name, tensor in bench.model.named_parameters()}
    bench.model.float()
    curves["eager_fp32"] = _curve(bench, case, steps, eager=True)
    for name, tensor in bench.model.named_parameters():
        tensor.data = tensor.data.to(dtypes[name])  # exact, since the values came from this type
    found = {name: torch.tensor(curve) for name, curve in curves.items()}
    pairs = (("captured", "eager"), ("captured", "eager_fp32"), ("eager", "eager_fp32"))
    differences = {f"{a} - {b}": (found[a] - found[b]).abs() for a, b in pairs}
    return {
        "curves": curves,
        "largest_difference": {name: float(values.max()) for name, values in differences.items()},
        "mean_difference": {name: float(values.mean()) for name, values in differences.items()},
    }


def _curve(bench: Bench, case: Case, steps: int, *, eager: bool) -> list[float]:
    engine = Engine(bench.model, max_rank=case.max_rank, eager=eager)
    source = MadeUpImages.make(bench.model, bench.name, height=case.height, width=case.width, count=steps)
    stepper = engine.stepper(case.config)
    config = case.config
    adapters = TrialAdapters(
        bench.model, config.lora, config.train.full_modules, seed=0, store=stepper.store, encoder=config.encoder
    )
    stepper.reset(case.config.loss, case.config.optimizer)
    losses = []
    for (fed,) in engine.feed(with_answer=False).chunks(source, [[number] for number in range(steps)], batch_size=1):
        stepper.losses.zero_()
        stepper.accumulate(fed.batch, fed.shape, share=1.0)
        losses.append(stepper.losses[0].clone())
        stepper.update(case.config.optimizer.lr)
    stepper.check()
    adapters.detach()
    engine.forget()
    return torch.stack(losses).tolist()


def turnarounds(bench: Bench, case: Case, ranks: tuple[int, ...]) -> list[dict[str, float]]:
    """For consecutive trials of these ranks in one seat: seconds from the end of one to the end of the next one's first
    step.

    With several seats, trials of the case's own rank sit in the others all the time. They wait while the next one is
    made, and share its step. The first trial includes compilation and capture. Each trial trains on one image an epoch.
    """
    engine = Engine(bench.model, max_rank=max(ranks), seats=case.seats)
    first, rest = (
        MadeUpImages.make(bench.model, bench.name, height=case.height, width=case.width, count=count)
        for count in (1, 8)
    )
    beside = [
        Trial(engine, first, rest, case.config.replace({"train.seed": seed, "train.epochs": len(ranks)}))
        for seed in range(1, case.seats)
    ]
    results = []
    for r in ranks:
        started = time.perf_counter()
        trial = Trial(engine, first, rest, case.config.replace({"lora.r": r}))
        opened = time.perf_counter()
        record = _epoch([trial, *beside])
        trial.close()
        results.append({
            "r": r, "seats": case.seats, "open_s": opened - started, "first_step_s": record.train_seconds,
            "turnaround_s": opened - started + record.train_seconds, "val_8_s": record.val_seconds,
        })  # fmt: skip
    for trial in beside:
        trial.close()
    engine.forget()
    return results
