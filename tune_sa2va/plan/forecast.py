"""Everything that can be known about a search before it runs, and all faults that would make it fail."""

from collections.abc import Callable
from dataclasses import dataclass, field

from tune_sa2va.data import CheckReport, Sample
from tune_sa2va.data.parts import scored_parts
from tune_sa2va.data.speech import Speech
from tune_sa2va.errors import TrialFailure, UserError
from tune_sa2va.plan.clock import Seconds, predict
from tune_sa2va.plan.pace import Pace, probe
from tune_sa2va.plan.room import Room, measure_room
from tune_sa2va.plan.table import TABLES, pace_from_tables
from tune_sa2va.preflight.cards import Card, cards
from tune_sa2va.preflight.data import examine_data, with_folds
from tune_sa2va.preflight.flags import Flags
from tune_sa2va.preflight.lane_memory import fit_seats
from tune_sa2va.preflight.settings import faults, resolve_settings
from tune_sa2va.preflight.targets import examine_targets
from tune_sa2va.results.settings import SearchSettings
from tune_sa2va.schedule.expected_length import Expectation, expect

_TIGHT = 0.9
"""Warn when a search needs more than this share of the free space, since the estimate is good to a tenth."""


@dataclass(slots=True)
class Forecast:
    """What is known about a search. None: could not be found out.

    problems: sentences, each about a fault that would make the search fail. warnings: faults that might.
    """

    problems: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    settings: SearchSettings | None = None
    expected: Expectation | None = None
    images: dict[str, int] = field(default_factory=dict)
    groups: int = 0
    room: Room | None = None
    pace: Pace | None = None
    seconds: Seconds | None = None


def look(flags: Flags, *, with_probe: bool, codes: bool | None = None, card: Card | None = None) -> Forecast:
    """The forecast, as far as the flags allow one. The time is estimated only if there are no problems.

    with_probe: measure the pace by running steps here. codes: True calls images by codes, False by names; None by names
    only if the output is a terminal. card: plan for such cards in another machine, without a probe.
    """
    forecast = Forecast(problems=faults(flags, elsewhere=card is not None))
    if forecast.problems:
        return forecast
    settings = forecast.settings = resolve_settings(flags, elsewhere=card is not None)
    forecast.expected = _expect(settings)
    _try(forecast, lambda: examine_targets(settings))
    examined: list[tuple[CheckReport, tuple[Sample, ...]]] = []
    _try(forecast, lambda: examined.append(examine_data(settings)))
    if not examined:
        return forecast
    report, samples = examined[0]
    speech = Speech.of(report, codes=codes)
    forecast.problems += [f"{speech.file(problem.file)}: {speech.text(problem.message)}" for problem in report.errors]
    forecast.warnings += [f"{speech.file(problem.file)}: {speech.text(problem.message)}" for problem in report.warnings]
    if not samples:
        if not report.errors:
            forecast.problems.append(f"{settings.data.source}: no image can be used. Check --data.")
        return forecast
    settings = forecast.settings = _seated(forecast, with_folds(settings, samples), flags.memory, report, card)
    forecast.images = scored_parts(samples)
    forecast.groups = report.num_groups
    _try(forecast, lambda: _look_at_room(forecast, settings, flags.memory, report, card))
    if not forecast.problems:
        _try(
            forecast, lambda: _look_at_time(forecast, settings, report, samples, with_probe=with_probe and card is None)
        )
    return forecast


def _expect(settings: SearchSettings) -> Expectation:
    return expect(
        trials=settings.trials, epochs=settings.epochs, lanes=settings.lanes, seats=settings.seats,
        reduction_factor=settings.reduction_factor, grace_period=settings.grace_period,
        learns=settings.sampler != "random",
    )  # fmt: skip


def _try(forecast: Forecast, step: Callable[[], None]) -> None:
    """Runs a step. An error that the user can fix becomes a problem of the forecast."""
    try:
        step()
    except (UserError, TrialFailure) as error:
        forecast.problems.append(str(error))


def _seated(
    forecast: Forecast, settings: SearchSettings, memory: str, report: CheckReport, card: Card | None
) -> SearchSettings:
    """The settings with as many seats as fit, if the search chooses the number."""
    found = cards(settings) if card is None else (card,)
    if not found or not settings.probes_seats:
        return settings
    fitting = [settings]
    free_gib = min(each.free_gib for each in found)
    _try(forecast, lambda: fitting.append(fit_seats(settings, memory, report.sizes_px, free_gib)))
    forecast.expected = _expect(fitting[-1])
    return fitting[-1]


def _look_at_room(
    forecast: Forecast, settings: SearchSettings, memory: str, report: CheckReport, card: Card | None
) -> None:
    assert forecast.expected is not None, "expected comes first"
    room = forecast.room = measure_room(settings, memory, report.sizes_px, forecast.expected, card=card)
    where = "the fullest card" if settings.gpus else "each lane's share of main memory"
    smaller = "choose --space wide or lora" if settings.gpus else "use fewer --lanes"
    if room.free_gib is not None:
        _compare(
            forecast, room.needed_gib, room.free_gib, f"memory: a lane needs {room.needed_gib:.2f} GiB and {where} has",
            f"End other processes, lower lora.r in the space, or {smaller}.",
        )  # fmt: skip
    _compare(
        forecast, room.cache_gib, room.cache_free_gib,
        f"feature cache: {room.cache_gib:.2f} GiB at most, and {settings.feature_cache} has",
        "Set TUNE_SA2VA_CACHE to a folder on a larger disk.",
    )  # fmt: skip
    _compare(
        forecast, room.results_gib, room.results_free_gib,
        f"results: about {room.results_gib:.2f} GiB of checkpoints, and {settings.out} has",
        "Choose --out on a larger disk, or fewer --trials.",
    )  # fmt: skip
    if settings.max_disk_gib is not None and room.results_gib > settings.max_disk_gib:
        forecast.warnings.append(
            f"results: about {room.results_gib:.2f} GiB, and --max-disk allows {settings.max_disk_gib:g}, so the "
            "search would pause. Raise --max-disk."
        )


def _compare(forecast: Forecast, needed_gib: float, free_gib: float, sentence: str, cure: str) -> None:
    if needed_gib > free_gib:
        forecast.problems.append(f"{sentence} {free_gib:.2f} GiB free. {cure}")
    elif needed_gib > _TIGHT * free_gib:
        forecast.warnings.append(f"{sentence} {free_gib:.2f} GiB free, which is tight. {cure}")


def _look_at_time(
    forecast: Forecast,
    settings: SearchSettings,
    report: CheckReport,
    samples: tuple[Sample, ...],
    *,
    with_probe: bool,
) -> None:
    assert forecast.expected is not None, "expected comes first"
    if with_probe and settings.address is None:
        forecast.pace = probe(settings, samples, report.sizes_px)
    elif forecast.room is not None and forecast.room.cards:
        forecast.pace = pace_from_tables(
            TABLES, model=settings.model.model, precision=settings.model.precision,
            fp8_copies=forecast.room.estimate.fp8_copies, seats=settings.seats,
            device=forecast.room.cards[0].name, sizes_px=report.sizes_px,
        )  # fmt: skip
    if forecast.pace is not None:
        forecast.seconds = predict(settings, forecast.images, forecast.expected, forecast.pace)
