"""The pretraining loop: a captured step, an averaged copy of the weights, and a state from which it can resume.

The schedule runs over minutes, not steps, so that a slower card ends at the same time, with fewer steps.
"""

import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from tune_sa2va.model.checkpoint import load_model, save_model
from tune_sa2va.model.dims import Sa2VADims
from tune_sa2va.model.prompt import Prompter
from tune_sa2va.model.sa2va import Sa2VA
from tune_sa2va.pretrain.augment import augment
from tune_sa2va.pretrain.objective import Objective, encoder_batch, forward, objective
from tune_sa2va.pretrain.scenes import Examples, ScenePool, SceneStream

_LENGTH_AFTER_IMAGE = 48
_TRAIN_SEED, _CHECK_SEED = 1_000_000, 1_000


@dataclass(frozen=True, kw_only=True, slots=True)
class PretrainSettings:
    """minutes: total training time, over all sessions. averaging: decay of the averaged weights, per step.

    warmup_share: share of the schedule with a rising learning rate. vessel_share: how often a scene with vessels is
    asked for them. pool_scenes: scenes kept on the device. workers: processes that draw scenes. log_every: steps.
    """

    minutes: float
    batch_size: int = 16
    peak_lr: float = 8e-4
    weight_decay: float = 0.05
    warmup_share: float = 0.03
    max_grad_norm: float = 1.0
    averaging: float = 0.999
    vessel_share: float = 0.6
    pool_scenes: int = 4096
    workers: int = 15
    compile: bool = True
    log_every: int = 50
    seed: int = 0
    init: Path | None = None
    """A checkpoint folder with weights to start from; None: random weights."""


class Batch(NamedTuple):
    """Inputs of one step, at fixed addresses on the device, from which the captured step reads them."""

    pixel_values: Tensor
    g_pixel_values: Tensor
    truth: Tensor
    input_ids: Tensor
    labels: Tensor
    seg_positions: Tensor


def pretrain(
    dims: Sa2VADims,
    prompter: Prompter,
    out: Path,
    settings: PretrainSettings,
    *,
    device: torch.device,
    stop_after_s: float,
) -> Path | None:
    """Trains until the schedule ends or for `stop_after_s` seconds. Returns the file of the averaged weights once the
    schedule has ended, else None.

    out: holds `state.safetensors` and `state.json`; training continues from them if they exist.
    """
    started = time.monotonic()
    run = _Run(dims, prompter, out, settings, device)
    run.pool.refill(min(settings.pool_scenes, 40 * settings.batch_size))
    run.prepare()
    while run.progress < 1.0 and time.monotonic() - started < stop_after_s:
        run.train_for(steps=settings.log_every)
    run.save()
    print(
        f"Dice of the averaged weights on {run.check.images.shape[0]} unseen scenes: {run.check_dice():.4f}", flush=True
    )
    return out / "model.safetensors" if run.progress >= 1.0 else None


class _Run:
    def __init__(
        self, dims: Sa2VADims, prompter: Prompter, out: Path, settings: PretrainSettings, device: torch.device
    ) -> None:
        self.out, self.settings, self.device = out, settings, device
        torch.manual_seed(settings.seed)
        self.model = Sa2VA(dims).to(device).train()
        if settings.init is not None:
            self.model.load_state_dict(load_model(settings.init, device=device, dtype=torch.float32).state_dict())
        self.averaged = Sa2VA(dims).to(device).eval()
        self.averaged.load_state_dict(self.model.state_dict())
        self.generator = torch.Generator(device).manual_seed(settings.seed)
        self.elapsed_s, self.steps = 0.0, 0
        self.lr = torch.tensor(0.0, device=device)
        self.dropped = torch.zeros((), device=device)
        decayed = [p for p in self.model.parameters() if p.ndim >= 2]
        rest = [p for p in self.model.parameters() if p.ndim < 2]
        self.optimizer = torch.optim.AdamW(
            [{"params": decayed, "weight_decay": settings.weight_decay}, {"params": rest, "weight_decay": 0.0}],
            lr=self.lr, betas=(0.9, 0.98), capturable=device.type == "cuda",
        )  # fmt: skip
        length = dims.tokens_per_tile + _LENGTH_AFTER_IMAGE
        self.image_start = prompter.build(question="", answer="[SEG]", num_image_tokens=1).image_start
        size = dims.sam2.image_size

        def stream(first_seed: int) -> SceneStream:
            return SceneStream(
                prompter, num_image_tokens=dims.tokens_per_tile, length=length, size=size, first_seed=first_seed
            )

        self.check = _stack([stream(0).example(_CHECK_SEED + i) for i in range(4 * settings.batch_size)])
        self._resume()
        # A resumed session draws new scenes.
        self.pool = ScenePool(
            stream(_TRAIN_SEED * (1 + self.steps)),
            capacity=settings.pool_scenes,
            workers=settings.workers,
            device=device,
        )
        batch, side, tile = settings.batch_size, size, dims.tile_size
        self.batch = Batch(
            torch.zeros(batch, 3, tile, tile, device=device),
            torch.zeros(batch, 3, side, side, device=device),
            torch.zeros(batch, side, side, device=device),
            torch.zeros(batch, length, dtype=torch.long, device=device),
            torch.zeros(batch, length, dtype=torch.long, device=device),
            torch.zeros(batch, dtype=torch.long, device=device),
        )
        self.graph: torch.cuda.CUDAGraph | None = None
        self.last: Objective

    @property
    def progress(self) -> float:
        return self.elapsed_s / (60 * self.settings.minutes)

    def prepare(self) -> None:
        """Runs the step a few times at learning rate 0, which changes only the moments, then captures it."""
        self.load_batch()
        if self.settings.compile:
            # At 256x256 Hiera's blocks are limited by memory bandwidth; fused norms, GELUs and residuals halve it.
            torch._dynamo.config.recompile_limit = 64
            for block in self.model.sam_vision.backbone.blocks:
                block.compile(dynamic=False)
        if self.device.type != "cuda":
            return
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(3):
                self.step()
        torch.cuda.current_stream().wait_stream(stream)
        self.graph = torch.cuda.CUDAGraph()
        self.optimizer.zero_grad(set_to_none=True)
        with torch.cuda.graph(self.graph):
            self.step()

    def train_for(self, *, steps: int) -> None:
        """Makes `steps` optimizer steps and prints a line; only here the loop waits for the device."""
        start = time.monotonic()
        sums = torch.zeros(5, device=self.device)
        self.lr.fill_(self.settings.peak_lr * _schedule(self.progress, self.settings.warmup_share))
        for _ in range(steps):
            self.load_batch()
            if self.graph is None:
                self.step()
            else:
                self.graph.replay()
            sums += torch.stack([part.detach() for part in self.last])
        # Workers fill their queues while the device trains; each step takes a sixth of a batch of new scenes.
        self.pool.refill(steps * self.settings.batch_size // 6)
        total, mask, iou, answer, dice = (sums / steps).tolist()
        dropped = int(self.dropped.item())
        seconds = time.monotonic() - start
        self.elapsed_s += seconds
        self.steps += steps
        if dropped > self.steps // 100 + 10:
            raise FloatingPointError(f"{dropped} gradients were not finite in {self.steps} steps")
        print(
            f"step {self.steps}  {100 * self.progress:5.1f}%  {steps / seconds:5.1f} it/s  scenes {self.pool.drawn}  "
            f"loss {total:.4f} mask {mask:.4f} iou {iou:.4f} answer {answer:.4f}  dice {dice:.4f}  dropped {dropped}",
            flush=True,
        )
        if self.steps % 1000 == 0:
            print(f"step {self.steps}  check dice {self.check_dice():.4f}", flush=True)
            self.save()

    def load_batch(self) -> None:
        examples = self.pool.sample(
            self.settings.batch_size, vessel_share=self.settings.vessel_share, generator=self.generator
        )
        pictures, truth = augment(examples.images, examples.masks.float(), self.generator)
        tiles, squares = encoder_batch(pictures, self.model.dims.tile_size)
        new = (
            tiles,
            squares,
            truth[:, 0],
            examples.input_ids[:, 0],
            examples.labels[:, 0],
            examples.seg_positions[:, 0],
        )
        for static, value in zip(self.batch, new, strict=True):
            static.copy_(value)

    def step(self) -> None:
        batch = self.batch
        self.optimizer.zero_grad(set_to_none=True)
        with torch.autocast(self.device.type, torch.bfloat16):
            masks, hidden = forward(
                self.model,
                batch.pixel_values,
                batch.g_pixel_values,
                batch.input_ids,
                batch.seg_positions,
                self.image_start,
            )
        self.last = objective(self.model, masks, hidden, batch.truth, batch.labels)
        self.last.total.backward()
        self._clip_or_drop()
        self.optimizer.step()
        with torch.no_grad():
            torch._foreach_lerp_(
                list(self.averaged.parameters()), list(self.model.parameters()), 1 - self.settings.averaging
            )

    def _clip_or_drop(self) -> None:
        """Clips the gradient; one that is not finite becomes zero. (One NaN at step 2,300 ruined a first run.)"""
        parameters = [parameter for parameter in self.model.parameters() if parameter.grad is not None]
        norm = torch.nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None], foreach=True)
        is_finite = torch.isfinite(norm)
        for parameter in parameters:
            parameter.grad = torch.where(is_finite, parameter.grad, 0.0)  # type: ignore[arg-type]
        safe_norm = torch.where(is_finite, norm, torch.ones_like(norm))
        torch.nn.utils.clip_grads_with_norm_(parameters, self.settings.max_grad_norm, safe_norm, foreach=True)
        self.dropped += (~is_finite).float()

    @torch.no_grad()
    def check_dice(self) -> float:
        """Dice of the averaged weights on fixed scenes that training never sees."""
        dices = []
        for i in range(0, self.check.images.shape[0], self.settings.batch_size):
            rows = slice(i, i + self.settings.batch_size)
            pictures = self.check.images[rows].to(self.device).float() / 255
            tiles, squares = encoder_batch(pictures, self.model.dims.tile_size)
            fields = (self.check.input_ids[rows, 0], self.check.labels[rows, 0], self.check.seg_positions[rows, 0])
            input_ids, labels, seg_positions = (field.to(self.device) for field in fields)
            with torch.autocast(self.device.type, torch.bfloat16):
                masks, hidden = forward(self.averaged, tiles, squares, input_ids, seg_positions, self.image_start)
            truth = self.check.masks[rows, 0].to(self.device).float()
            dices.append(objective(self.averaged, masks, hidden, truth, labels).dice)
        return float(torch.stack(dices).mean())

    def save(self) -> None:
        """Writes the averaged weights and the whole state, each to a temporary file that is then renamed."""
        _replace(self.out / "model.safetensors", lambda path: save_model(self.averaged, path, dtype=torch.bfloat16))
        tensors = {f"model.{k}": v for k, v in self.model.state_dict().items()}
        tensors |= {f"averaged.{k}": v for k, v in self.averaged.state_dict().items()}
        for index, state in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{index}.{k}": v for k, v in state.items()}
        _replace(self.out / "state.safetensors", lambda path: save_file(tensors, path))
        content = json.dumps({"elapsed_s": self.elapsed_s, "steps": self.steps})
        _replace(self.out / "state.json", lambda path: path.write_text(content, encoding="utf-8"))

    def _resume(self) -> None:
        if not (self.out / "state.json").exists():
            return
        progress = json.loads((self.out / "state.json").read_text(encoding="utf-8"))
        self.elapsed_s, self.steps = progress["elapsed_s"], progress["steps"]
        tensors = load_file(self.out / "state.safetensors", device=str(self.device))

        def part(prefix: str) -> dict[str, Tensor]:
            return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}

        self.model.load_state_dict(part("model."))
        self.averaged.load_state_dict(part("averaged."))
        moments: dict[int, dict[str, Tensor]] = {}
        for key, value in part("optimizer.").items():
            index, name = key.split(".")
            moments.setdefault(int(index), {})[name] = value
        whole = self.optimizer.state_dict()
        self.optimizer.load_state_dict({"state": moments, "param_groups": whole["param_groups"]})
        for group in self.optimizer.param_groups:
            group["lr"] = self.lr


def _schedule(progress: float, warmup_share: float) -> float:
    if progress < warmup_share:
        return (progress + 1e-3) / (warmup_share + 1e-3)
    return 0.5 * (1 + math.cos(math.pi * min(1.0, (progress - warmup_share) / (1 - warmup_share))))


def _stack(examples: list[Examples]) -> Examples:
    return Examples(*(torch.cat([getattr(e, name) for e in examples]) for name in Examples.__slots__))


def _replace(path: Path, write: Callable[[Path], object]) -> None:
    temporary = path.with_suffix(".tmp")
    write(temporary)
    temporary.replace(path)
