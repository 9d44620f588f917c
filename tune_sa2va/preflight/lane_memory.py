"""Whether the trials of a search fit on its GPUs, and what is done to make them fit."""

from collections.abc import Sequence
from typing import Any, get_args

from tune_sa2va.config import FullModule, HieraTargets, MemoryMode, Saving, TrialConfig, VisionTargets
from tune_sa2va.model.locate import model_folder
from tune_sa2va.preflight.cards import cards
from tune_sa2va.preflight.seats import fitting_seats
from tune_sa2va.results.settings import SearchSettings
from tune_sa2va.train.memory import MemoryEstimate, choose_saving, estimate_memory


def fit_memory(settings: SearchSettings, memory: str, sizes_px: Sequence[tuple[int, int]]) -> SearchSettings:
    """The settings with what saves memory, and seats if their number is open, chosen for this machine's GPUs; unchanged
    if none of them is used.

    memory: a `MemoryMode`. sizes_px: (height, width) of the images.
    """
    found = cards(settings)
    if not found:
        return settings
    free_gib = min(card.free_gib for card in found)
    fitting = fit_seats(settings, memory, sizes_px, free_gib)
    saving, _ = lane_memory(fitting, memory, sizes_px, free_gib)
    return fitting.with_saving(saving)


def fit_seats(
    settings: SearchSettings, memory: str, sizes_px: Sequence[tuple[int, int]], free_gib: float
) -> SearchSettings:
    """The settings with as many of their seats as fit; unchanged if the number was given.

    What is done to save memory is what a single trial needs: it costs more time than seats gain where they alone make
    it necessary. The arguments are those of `lane_memory`.
    """
    if not settings.probes_seats:
        return settings

    def with_seats(seats: int) -> SearchSettings:
        return settings.model_copy(update={"seats": seats})

    alone, _ = lane_memory(with_seats(1), memory, sizes_px, free_gib)
    seats = fitting_seats(settings, free_gib, lambda seats: _estimate(with_seats(seats), sizes_px, alone))
    return settings.model_copy(update={"seats": seats.number, "seats_reason": seats.reason})


def lane_memory(
    settings: SearchSettings, memory: str, sizes_px: Sequence[tuple[int, int]], free_gib: float
) -> tuple[Saving, MemoryEstimate]:
    """What lanes do to save memory, and the memory estimate of the most demanding trial with that choice.

    memory: a `MemoryMode`. sizes_px: (height, width) of the images. free_gib: free memory of the fullest GPU.
    """
    mode: MemoryMode = next(known for known in get_args(MemoryMode) if known == memory)
    return choose_saving(mode, settings.model.precision, free_gib, lambda saving: _estimate(settings, sizes_px, saving))


def _estimate(settings: SearchSettings, sizes_px: Sequence[tuple[int, int]], saving: Saving) -> MemoryEstimate:
    """The estimate for the most demanding trial and image, with such trials in all seats."""
    config, folder = largest_config(settings), model_folder(settings.model.model)
    estimates = [
        estimate_memory(
            folder, config, precision=settings.model.precision, on_gpu=settings.gpus > 0,
            width_px=width, height_px=height, checkpointed=saving.checkpointed, fp8_copies=saving.fp8_copies,
            folds=settings.folds or 1, seats=settings.seats,
        )
        for height, width in _telling(sizes_px)
    ]  # fmt: skip
    return max(estimates, key=lambda one: one.card_gib)


def largest_config(settings: SearchSettings) -> TrialConfig:
    """A configuration that takes as much memory as any in the space: the largest value of each field that matters."""
    space = settings.search_space
    widest: tuple[FullModule, ...] = max(space.possible("train.full_modules"), key=len)
    paths = ["lora.r", "lora.dropout", "encoder.r", "loss.lm", "loss.cldice", "loss.focal_tversky"]
    paths += ["train.micro_batch_size", "train.ema", "data.strength"]
    values: dict[str, Any] = {path: _highest(settings, path) for path in paths} | {"train.full_modules": widest}
    for path, known in (("encoder.sam2", get_args(HieraTargets)), ("encoder.vision", get_args(VisionTargets))):
        values[path] = max(space.possible(path), key=known.index)
    return settings.trial_config(space.recipe_point()).replace(values | {"data.augment": "none"})


def _highest(settings: SearchSettings, path: str) -> float:
    dimension = settings.search_space.dimensions.get(path)
    return max(settings.search_space.possible(path) if dimension is None else dimension.values)


def _telling(sizes_px: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """The sizes that may take the most memory: most pixels, tallest shape and widest shape, without duplicates."""
    distinct = sorted(set(sizes_px))
    by = (lambda size: size[0] * size[1], lambda size: size[0] / size[1], lambda size: size[1] / size[0])
    return list(dict.fromkeys(max(distinct, key=measure) for measure in by))
