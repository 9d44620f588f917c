"""The forecast as printed lines, and as plain values for JSON."""

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from tune_sa2va.inspect.show import memory_to_plain
from tune_sa2va.plan.clock import Seconds
from tune_sa2va.plan.forecast import Forecast
from tune_sa2va.plan.room import Room
from tune_sa2va.preflight.seats import seats_words
from tune_sa2va.printable import printable
from tune_sa2va.results.settings import SearchSettings
from tune_sa2va.words import count, duration


def to_plain(forecast: Forecast) -> dict[str, Any]:
    """The forecast as plain values; None for what could not be found out."""
    room = forecast.room
    return {
        "would_fail": bool(forecast.problems),
        "problems": forecast.problems,
        "warnings": forecast.warnings,
        "settings": None if forecast.settings is None else forecast.settings.model_dump(mode="json"),
        "expected": None if forecast.expected is None else asdict(forecast.expected),
        "images": forecast.images,
        "groups": forecast.groups,
        "room": None if room is None else asdict(room) | {"estimate": memory_to_plain(room.estimate)},
        "pace": None if forecast.pace is None else asdict(forecast.pace),
        "seconds": None if forecast.seconds is None else asdict(forecast.seconds) | {"total": forecast.seconds.total},
    }


def show(console: Console, forecast: Forecast) -> None:
    """Prints the forecast. Problems come last, where they are noticed."""
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for label, text in _rows(forecast):
        table.add_row(label, Text(text))
    console.print(table)
    for title, style, sentences in (
        ("warning", "yellow", forecast.warnings),
        ("problem", "bold red", forecast.problems),
    ):
        if sentences:
            console.print(f"\n{count(len(sentences), title)}:", style=style)
            for sentence in sentences:
                console.print(Text(f"- {printable(sentence)}", overflow="fold"))
    if not forecast.problems:
        console.print("\nNothing found that would make the search fail.", style="green")


def _rows(forecast: Forecast) -> Iterator[tuple[str, str]]:
    settings, expected = forecast.settings, forecast.expected
    if settings is None or expected is None:
        return
    yield "model", f"{settings.model.model} in {settings.model.precision}"
    if forecast.images:
        parts = ", ".join(f"{number} {part}" for part, number in forecast.images.items())
        yield "data", f"{settings.data.source}: {parts} ({count(forecast.groups, 'group')})"
        yield "folds", _folds(settings)
    yield "lanes", _lanes(settings)
    if words := seats_words(settings):
        yield "", words
    yield "trials", f"{settings.trials} of at most {count(settings.epochs, 'epoch')}, proposed by {settings.sampler}"
    if settings.warm_start is not None:
        yield "", f"starting from the trials of {settings.warm_start}"
    rungs = ", ".join(f"{trials:.0f} reach epoch {epoch}" for epoch, trials in expected.rungs.items())
    yield "ASHA", f"{rungs} (expected)"
    low, high = expected.epochs_range
    yield (
        "epochs",
        f"about {expected.epochs:.0f} ({low} to {high}) of {settings.trials * settings.epochs} without stops",
    )
    if settings.confirm:
        more = f"{count(settings.num_reruns, 'rerun')}, {count(settings.num_reruns * settings.epochs, 'epoch')} more"
        yield "confirm", f"the best {settings.confirm} and the recipe again: {more}"
    if forecast.room is not None:
        yield from _room_rows(settings, forecast.room)
    if forecast.seconds is not None and forecast.pace is not None:
        pace, seconds = forecast.pace, forecast.seconds
        yield "time", _time(seconds)
        yield (
            "",
            (
                f"start {duration(seconds.starting)}, training {duration(seconds.training)}, validation "
                f"{duration(seconds.validation)}, between trials {duration(seconds.between_trials)}, scores and export "
                f"{duration(seconds.ending)}"
            ),
        )
        yield "pace", f"{pace.train_s * 1e3:.0f} ms per training image, {pace.val_s * 1e3:.0f} ms per validation image"
        yield "", pace.source
        if _has_slower_trials(settings):
            yield "", _SLOWER_TRIALS
    else:
        yield "time", "unknown: no probe was run, and there is no benchmark of this card and image size"


_SLOWER_TRIALS = (
    "Both are the recipe's. Where a trial trains an encoder or the mask decoder too, an epoch took 1.4 to 2.5 times as "
    "long (8B, 512x512, H100), and all epochs of a search over deep 2.1 times."
)
"""Measured in results/bench/2026-11-28_4xh100_searches. `time` has no such factor, as it depends on model and sizes."""


def _has_slower_trials(settings: SearchSettings) -> bool:
    """Whether trials of the space may train more than the recipe does."""
    space = settings.search_space
    fields = ("encoder.sam2", "encoder.vision", "train.full_modules")
    return any(value and value != "none" for field in fields for value in space.possible(field))


def _folds(settings: SearchSettings) -> str:
    if settings.folds == 1:
        return "one split: a trial trains one adapter and is scored on val"
    return f"{settings.folds} adapters per trial; each val image is scored by the adapter that was not trained on it"


def _lanes(settings: SearchSettings) -> str:
    most = "at most " if settings.probes_seats else ""
    seats = f", {most}{count(settings.seats, 'trial')} at a time in each" if settings.seats > 1 else ""
    if settings.gpus:
        return f"{settings.lanes}, each on {settings.gpus_per_trial} of {count(settings.gpus, 'GPU')}{seats}"
    return f"{settings.lanes} on CPUs, {count(settings.cpus_per_worker, 'thread')} each{seats}"


def _room_rows(settings: SearchSettings, room: Room) -> Iterator[tuple[str, str]]:
    estimate = room.estimate
    size = f"{estimate.width_px}x{estimate.height_px}, {estimate.tokens} tokens"
    yield "memory", f"{room.needed_gib:.2f} GiB per lane for the largest trial and image ({size})"
    if estimate.checkpointed:
        yield "", "with gradient checkpointing, because it would not fit otherwise or was asked for"
    if estimate.fp8_copies == 1:
        yield "", "with one copy of the 8-bit weights, because two would not fit or less memory was asked for"
    for card in room.cards:
        yield "", f"{card.name}: {card.free_gib:.1f} of {card.total_gib:.1f} GiB free"
    if not settings.gpus and room.free_gib is not None:
        yield "", f"main memory: {room.free_gib:.1f} GiB free for each lane"
    yield "cache", f"{room.cache_gib:.2f} GiB of features at most; {room.cache_free_gib:.1f} GiB free"
    yield "results", f"{room.results_gib:.2f} GiB, mostly checkpoints; {room.results_free_gib:.1f} GiB free"


def _time(seconds: Seconds) -> str:
    text = f"about {duration(seconds.total)} ({duration(seconds.low)} to {duration(seconds.high)})"
    return text + (", cut short by --time-budget" if seconds.cut_short else "")
