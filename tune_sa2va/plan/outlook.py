"""Everything that is known of a search before it runs, and all that would make it fail, gathered and not one by one."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from tune_sa2va.data import CheckReport, Sample
from tune_sa2va.doctor.finding import Verdict
from tune_sa2va.doctor.machine import check_machine
from tune_sa2va.errors import TrialFailure, UserError
from tune_sa2va.inspect.counts import count, unreached_targets
from tune_sa2va.model.checkpoint import outline_of
from tune_sa2va.model.locate import model_folder
from tune_sa2va.plan.clock import Hours, predict
from tune_sa2va.plan.pace import Pace, probe
from tune_sa2va.plan.room import Room, measure_room
from tune_sa2va.plan.table import TABLES, pace_from_tables
from tune_sa2va.search.expectation import Expectation, expect
from tune_sa2va.search.lane_memory import largest_config
from tune_sa2va.search.preflight import Flags, examine_data, faults, plan
from tune_sa2va.search.rungs import REDUCTION_FACTOR
from tune_sa2va.search.settings import SearchSettings

_TIGHT = 0.9
"""Share of the free room from which a warning is due: the estimate is good to a tenth."""


@dataclass(slots=True)
class Outlook:
    """problems: each would make the search fail; warnings: each may. What could not be found out is None."""

    problems: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    settings: SearchSettings | None = None
    expected: Expectation | None = None
    images: dict[str, int] = field(default_factory=dict)
    groups: int = 0
    room: Room | None = None
    pace: Pace | None = None
    hours: Hours | None = None


def look(flags: Flags, *, with_probe: bool) -> Outlook:
    """Looks ahead as far as the flags allow; the time only where nothing speaks against the search."""
    outlook = Outlook(problems=faults(flags))
    if outlook.problems:
        return outlook
    settings = outlook.settings = plan(flags)
    outlook.expected = expect(
        trials=settings.trials, epochs=settings.epochs, lanes=settings.lanes, reduction_factor=REDUCTION_FACTOR,
        learns=settings.sampler != "random",
    )  # fmt: skip
    outlook.problems += [
        f"{finding.subject}: {finding.found}. {finding.cure}"
        for finding in check_machine({})
        if finding.verdict is Verdict.FAIL and finding.subject != "memory"  # weighed below, against what lanes take
    ]
    _try(outlook, lambda: _look_at_targets(outlook, settings))
    examined: list[tuple[CheckReport, tuple[Sample, ...]]] = []
    _try(outlook, lambda: examined.append(examine_data(settings)))
    if not examined:
        return outlook
    report, samples = examined[0]
    outlook.problems += [f"{problem.file}: {problem.message}" for problem in report.errors]
    outlook.warnings += [f"{problem.file}: {problem.message}" for problem in report.warnings]
    if not samples:
        if not report.errors:
            outlook.problems.append(f"{settings.data.source}: no image can be used. Check --data.")
        return outlook
    outlook.images = dict(Counter(str(sample.split) for sample in samples))
    outlook.groups = report.num_groups
    _try(outlook, lambda: _look_at_room(outlook, settings, flags.memory, report))
    if not outlook.problems:
        _try(outlook, lambda: _look_at_time(outlook, settings, report, samples, with_probe=with_probe))
    return outlook


def _try(outlook: Outlook, step: Callable[[], None]) -> None:
    """Does a step; what it raises for the user to cure is a problem among others."""
    try:
        step()
    except (UserError, TrialFailure) as error:
        outlook.problems.append(str(error))


def _look_at_targets(outlook: Outlook, settings: SearchSettings) -> None:
    config = largest_config(settings)
    model = outline_of(model_folder(settings.model.model))
    counts = count(model, config.lora, config.train.full_modules, lm_loss=config.loss.lm > 0)
    for name in unreached_targets(counts):
        outlook.problems.append(
            f"lora.target_modules: no loss reaches {name}, so a trial that trains it ends at once. Leave it out."
        )


def _look_at_room(outlook: Outlook, settings: SearchSettings, memory: str, report: CheckReport) -> None:
    assert outlook.expected is not None, "expected comes first"
    room = outlook.room = measure_room(settings, memory, report.sizes_px, outlook.expected)
    where = "the fullest card" if settings.gpus else "main memory, for each lane"
    if room.free_gib is not None:
        _compare(
            outlook, room.needed_gib, room.free_gib, f"memory: a lane needs {room.needed_gib:.2f} GiB and {where} has",
            "End other processes, lower lora.r in the space, or use fewer --lanes.",
        )  # fmt: skip
    _compare(
        outlook, room.cache_gib, room.cache_free_gib,
        f"feature cache: {room.cache_gib:.2f} GiB at most, and {settings.feature_cache} has",
        "Set TUNE_SA2VA_CACHE to a folder on a larger disk.",
    )  # fmt: skip
    _compare(
        outlook, room.results_gib, room.results_free_gib,
        f"results: about {room.results_gib:.2f} GiB of checkpoints, and {settings.out} has",
        "Choose --out on a larger disk, or fewer --trials.",
    )  # fmt: skip
    if settings.max_disk_gib is not None and room.results_gib > settings.max_disk_gib:
        outlook.warnings.append(
            f"results: about {room.results_gib:.2f} GiB, more than --max-disk {settings.max_disk_gib:g}: the search "
            "would pause. Raise --max-disk."
        )


def _compare(outlook: Outlook, needed_gib: float, free_gib: float, sentence: str, cure: str) -> None:
    if needed_gib > free_gib:
        outlook.problems.append(f"{sentence} {free_gib:.2f} GiB free. {cure}")
    elif needed_gib > _TIGHT * free_gib:
        outlook.warnings.append(f"{sentence} {free_gib:.2f} GiB free, which is tight. {cure}")


def _look_at_time(
    outlook: Outlook,
    settings: SearchSettings,
    report: CheckReport,
    samples: tuple[Sample, ...],
    *,
    with_probe: bool,
) -> None:
    assert outlook.expected is not None, "expected comes first"
    if with_probe and settings.address is None:
        outlook.pace = probe(settings, samples, report.sizes_px)
    elif outlook.room is not None and outlook.room.cards:
        outlook.pace = pace_from_tables(
            TABLES, model=settings.model.model, device=outlook.room.cards[0].name, sizes_px=report.sizes_px
        )
    if outlook.pace is not None:
        outlook.hours = predict(settings, outlook.images, outlook.expected, outlook.pace)
