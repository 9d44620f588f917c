"""`python -m tune_sa2va.inspect --model DIR|PRESET`: a model's parameters and those that are trained; memory if asked.

It uses only shapes, so it needs little memory for a model of any size. Parameters take seconds, most of them to import
torch and transformers. Memory takes a quarter of a minute for each image size, so it is predicted only with `--memory`.
The next time an answer is there in a second, because answers are kept.
"""

import gc
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, get_args

import typer

from tune_sa2va.config import (
    EncoderSettings,
    FullModule,
    HieraTargets,
    LoraSettings,
    Precision,
    TrainSettings,
    TrialConfig,
    VisionTargets,
)
from tune_sa2va.errors import UserError

if TYPE_CHECKING:
    from rich.console import Console

    from tune_sa2va.train.memory import MemoryEstimate

app = typer.Typer(add_completion=False)

_SMALLEST_PX, _LARGEST_PX = 16, 16_384
_SIZES = ("512x512", "768x768", "1024x1024")
_PRECISION: Precision = "bf16"


@app.command()
def main(
    model: Annotated[str, typer.Option(help="Folder of a Sa2VA checkpoint, or a preset's name.")],
    rank: Annotated[int, typer.Option(help="Rank of the adapters.")] = 64,
    alpha: Annotated[float, typer.Option(help="lora_alpha of the adapters.")] = 128,
    targets: Annotated[
        str, typer.Option(help="Ends of the names of modules that get an adapter, separated by commas.")
    ] = "q_proj,k_proj,v_proj,o_proj",
    full_modules: Annotated[
        str,
        typer.Option(
            help="Modules trained in full, separated by commas: text_hidden_fcs, mask_decoder, neck.",
            show_default="none",
        ),
    ] = "",
    sam2: Annotated[HieraTargets, typer.Option(help="Blocks of SAM2's image encoder that get adapters.")] = "none",
    vision: Annotated[
        VisionTargets,
        typer.Option(help="Whether InternVL's projector (mlp1), or also its vision tower (all), gets adapters."),
    ] = "none",
    encoder_rank: Annotated[int, typer.Option(min=1, max=512, help="Rank of the encoders' adapters.")] = 16,
    memory: Annotated[
        bool,
        typer.Option(
            "--memory", help="Also predict the memory of training, a quarter of a minute for each image size."
        ),
    ] = False,
    image_size: Annotated[
        list[str] | None,
        typer.Option(
            help="With --memory: WIDTHxHEIGHT in pixels; may be given several times.", show_default=", ".join(_SIZES)
        ),
    ] = None,
    precision: Annotated[
        Precision | None,
        typer.Option(
            help="With --memory: bf16 as on GPUs, fp32 as on CPUs, fp8 as with --precision fp8 of a search.",
            show_default=_PRECISION,
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, not tables.")] = False,
) -> None:
    """Count the parameters of a model and of its adapters, and with --memory predict the memory that training takes.

    Nothing is loaded: the answer follows from the shapes. "Reached" counts adapters that get a gradient. SAM2's memory
    attention, which the recipe's names also match, gets none, since a single image does not use it.
    """
    if not memory and (image_size or precision):
        raise UserError(f"--{'image-size' if image_size else 'precision'} changes the memory alone: add --memory.")
    sizes = [_size(text) for text in image_size or _SIZES] if memory else []
    precision = precision or _PRECISION
    encoder = EncoderSettings(sam2=sam2, vision=vision, r=encoder_rank)
    config = _config(rank, alpha, targets, full_modules).model_copy(update={"encoder": encoder})

    from rich.console import Console  # heavy imports are deferred to keep --help fast

    from tune_sa2va.inspect.kept import keep, kept_answer, key_of
    from tune_sa2va.model.locate import model_folder

    folder, console = model_folder(model), Console(highlight=False)
    key = key_of(folder, model, config, sizes, precision, as_json, console.width, console.color_system)
    if (answer := kept_answer(key)) is not None:
        typer.echo(answer, nl=False)
        return
    printed = []
    for part in _answer(console, model, folder, config, sizes, precision, as_json=as_json):
        typer.echo(part, nl=False)
        printed.append(part)
    keep(key, "".join(printed))


def _answer(
    console: "Console",
    model: str,
    folder: Path,
    config: TrialConfig,
    sizes: list[tuple[int, int]],
    precision: Precision,
    *,
    as_json: bool,
) -> Iterator[str]:
    """The tables in the order in which they are known: parameters, then the memory at `sizes`, if there are any."""
    with _collector_off():
        from tune_sa2va.inspect.counts import count
        from tune_sa2va.inspect.show import print_counts, print_memory, to_plain
        from tune_sa2va.model.checkpoint import outline_of

    encoder = config.encoder
    counts = count(outline_of(folder), config.lora, config.train.full_modules, lm_loss=False, encoder=encoder)
    if not as_json:
        with console.capture() as capture:
            print_counts(console, counts)
            if not sizes:
                console.print("\nMemory: add --memory, or ask `plan` for that of a search.")
        yield capture.get()
    memory = _memory(folder, config, sizes, precision) if sizes else []
    with console.capture() as capture:
        if as_json:
            console.print(json.dumps(to_plain(model, counts, memory), indent=2), markup=False, soft_wrap=True)
        elif memory:
            print_memory(console, memory, precision)
    yield capture.get()


def _memory(
    folder: Path, config: TrialConfig, sizes: list[tuple[int, int]], precision: Precision
) -> "list[MemoryEstimate]":
    from tune_sa2va.train.memory import estimate_memory  # not for parameters: it imports all of training

    return [
        estimate_memory(
            folder, config, precision=precision, width_px=width, height_px=height, on_gpu=precision != "fp32"
        )
        for width, height in sizes
    ]


@contextmanager
def _collector_off() -> Iterator[None]:
    """Imports torch and transformers without the garbage collector, which finds nothing there: 0.9 s of 4.6 s less.

    What was imported is left out of later collections, too. The one at the interpreter's end took 1.2 s.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def _config(rank: int, alpha: float, targets: str, full_modules: str) -> TrialConfig:
    low, high = 1, 512  # the bounds of LoraSettings, checked here so that the message names the flag
    if not low <= rank <= high:
        raise UserError(f"--rank must be from {low} to {high}, got {rank}.")
    if not 0 < alpha <= 64 * rank:
        raise UserError(f"--alpha must be above 0 and at most 64 times the rank, got {alpha:g}.")
    names = _names(targets)
    if not names:
        raise UserError("--targets must name at least one module, for example q_proj.")
    full: list[FullModule] = []
    for name in _names(full_modules):
        known = next((module for module in get_args(FullModule) if module == name), None)
        if known is None:
            raise UserError(f"--full-modules must be among {', '.join(get_args(FullModule))}, got {name!r}.")
        full.append(known)
    return TrialConfig(
        lora=LoraSettings(r=rank, alpha_over_r=alpha / rank, target_modules=names),
        train=TrainSettings(full_modules=tuple(full)),
    )


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _size(text: str) -> tuple[int, int]:
    """Width and height of `WxH`."""
    match = re.fullmatch(r"(\d{1,5})x(\d{1,5})", text.lower())
    if not match or not all(_SMALLEST_PX <= int(side) <= _LARGEST_PX for side in match.groups()):
        raise UserError(
            f"--image-size must be WIDTHxHEIGHT with sides from {_SMALLEST_PX} to {_LARGEST_PX}, got {text!r}. "
            "For example 512x512."
        )
    return int(match[1]), int(match[2])


if __name__ == "__main__":
    from tune_sa2va.cli import run

    run(app)
