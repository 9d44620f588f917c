"""Turns flags into the settings of a search, and finds their faults before Ray starts or anything is written.

`resolve_settings` stops at the first fault; `faults` lists all of them, for `python -m tune_sa2va.plan`.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Literal, get_args

from tune_sa2va.cache.place import CACHE_VARIABLE, cache_folder, features_folder
from tune_sa2va.config import Augment, DataSettings, ModelSettings, Saving, savings
from tune_sa2va.data import Dataset, open_dataset
from tune_sa2va.data.rules import Rules
from tune_sa2va.data.variants import variants_of
from tune_sa2va.distribution import package_version
from tune_sa2va.errors import UserError
from tune_sa2va.evaluate.tuned import FinalName
from tune_sa2va.preflight.base_model import examine_model
from tune_sa2va.preflight.copy_place import examine_place
from tune_sa2va.preflight.data import check_final, data_source
from tune_sa2va.preflight.devices import cpus_per_worker, devices
from tune_sa2va.preflight.flags import Flags, check_numbers, parse_confirm, parse_folds, parse_trials_per_gpu
from tune_sa2va.preflight.machine import check_machine_here
from tune_sa2va.preflight.paths import check_spelling
from tune_sa2va.preflight.precision import examine_layers, precision_of
from tune_sa2va.preflight.results_folder import check_folder, out_and_name
from tune_sa2va.preflight.seats import Seats, most_seats
from tune_sa2va.propose.warm_start import usable_trials
from tune_sa2va.results.settings import SamplerName, SearchSettings
from tune_sa2va.schedule.expected_length import Expectation, expect
from tune_sa2va.space.search_space import SearchSpace, load_space

_MOST_CONFIRMED = 3


def resolve_settings(flags: Flags, *, elsewhere: bool = False) -> SearchSettings:
    """The settings of the search that the flags ask for. elsewhere: as in `devices`.

    Writes nothing, except for the built-in images to the cache if --data is not given.

    Raises:
        UserError: a flag, the space file or the model cannot be used.
    """
    package_version()
    check_numbers(flags)
    check_machine_here(flags.address)
    out, name = out_and_name(flags)
    _check_spellings(flags)
    check_folder(out, name)
    sampler, final = _sampler(flags.sampler), _final(flags)
    space = _space(flags, elsewhere=elsewhere)
    gpus, lanes = devices(flags, elsewhere=elsewhere)
    storage = examine_place(flags.storage, out, name)
    model = _model(flags, gpus, elsewhere=elsewhere)
    seats = _seats(flags, space, model, gpus, lanes)
    return SearchSettings(
        name=name,
        out=out,
        model=model,
        data=_data(flags),
        space_file=space.source,
        space=space.to_dict(),
        gpus=gpus,
        gpus_per_trial=flags.gpus_per_trial,
        lanes=lanes,
        seats=seats.number,
        seats_reason=seats.reason,
        cpus_per_worker=cpus_per_worker(flags, lanes, gpus),
        trials=flags.trials,
        epochs=flags.epochs,
        folds=parse_folds(flags.folds),
        grace_period=flags.grace_period,
        reduction_factor=flags.reduction_factor,
        final=final,
        confirm=_confirm(flags, lanes, seats.number),
        seeds=flags.seeds,
        time_budget_s=None if flags.time_budget_min is None else flags.time_budget_min * 60,
        sampler=sampler,
        warm_start=_warm_start(flags, space),
        storage=storage,
        seed=flags.seed,
        max_disk_gib=flags.max_disk_gib,
        cache_limit_gib=flags.cache_limit_gib,
        address=flags.address,
        feature_cache=features_folder(),
        raw_high_res=_may_train_mask_decoder(space),
        augment=_widest_augment(space),
    ).with_saving(savings(model.precision)[-1] if flags.memory == "checkpoint" else Saving())


def faults(flags: Flags, *, elsewhere: bool = False) -> list[str]:
    """The messages of all faults in the flags, of which `resolve_settings` raises only the first."""
    checks: tuple[Callable[[], object], ...] = (
        package_version,
        lambda: check_numbers(flags),
        lambda: check_machine_here(flags.address),
        lambda: _check_spellings(flags),
        lambda: check_folder(*out_and_name(flags)),
        lambda: _sampler(flags.sampler),
        lambda: _final(flags),
        lambda: _space(flags, elsewhere=elsewhere),
        lambda: _warm_start(flags, _space(flags, elsewhere=elsewhere)),
        lambda: devices(flags, elsewhere=elsewhere),
        lambda: examine_place(flags.storage, *out_and_name(flags)),
        lambda: _model(flags, devices(flags, elsewhere=elsewhere)[0], elsewhere=elsewhere),
        lambda: _open(_data(flags)),
    )
    found = []
    for check_one in checks:
        try:
            check_one()
        except UserError as error:
            found.append(str(error))
    return list(dict.fromkeys(found))


def _model(flags: Flags, gpus: int, *, elsewhere: bool) -> ModelSettings:
    precision = precision_of(flags, gpus, elsewhere=elsewhere)  # first, since checking a model takes longer
    settings = ModelSettings(model=examine_model(flags.model), precision=precision)
    examine_layers(settings)
    return settings


def _seats(flags: Flags, space: SearchSpace, model: ModelSettings, gpus: int, lanes: int) -> Seats:
    """Those of a lane, without a reason if the number was given; for `auto` before memory is looked at."""
    asked = parse_trials_per_gpu(flags.trials_per_gpu)
    if asked is not None:
        return Seats(asked, "")

    def rounds(seats: int) -> float:
        return _expected(flags, lanes, seats).duration_in_epochs

    return most_seats(space, gpus=gpus, gpus_per_trial=flags.gpus_per_trial, precision=model.precision, rounds=rounds)


def _data(flags: Flags) -> DataSettings:
    group_by = flags.group_by
    if group_by is not None and group_by.lower().endswith(".csv"):
        group_by = str(Path(os.path.expanduser(group_by)).absolute())  # noqa: PTH111
    return DataSettings(
        source=str(data_source(flags.data)),
        split_seed=flags.seed,
        allow_outside=flags.allow_outside,
        group_by=group_by,
        outlines=flags.outlines,
        labels=flags.labels,
        absent=flags.absent,
    )


def _check_spellings(flags: Flags) -> None:
    """Checks the spelling of every folder that the search writes to, and of --data."""
    check_spelling("--out", out_and_name(flags)[0])
    check_spelling(CACHE_VARIABLE, cache_folder())
    if flags.data is not None:
        check_spelling("--data", Path(flags.data))


def _open(data: DataSettings) -> Dataset:
    return open_dataset(data.source, allow_outside=data.allow_outside, rules=Rules.of(data))


def _sampler(name: str) -> SamplerName:
    for known in get_args(SamplerName):
        if name == known:
            return known
    raise UserError(f"--sampler must be one of {', '.join(get_args(SamplerName))}, got {name!r}.")


def _confirm(flags: Flags, lanes: int, seats: int) -> int:
    """The number of configurations to run again; for `auto` 0, unless there is a time budget.

    The same epochs spent on more trials gain more than reruns do (docs/how-it-works.md). Under a time budget reruns
    come after the trials and so cost them nothing. Then `auto` is at most 3, and the reruns, those of the recipe
    included, take no more epochs than the trials are expected to take.
    """
    asked = parse_confirm(flags.confirm)
    if asked is not None:
        return asked
    if flags.time_budget_min is None:
        return 0
    configurations = int(_expected(flags, lanes, seats).epochs) // (flags.seeds * flags.epochs)
    return min(_MOST_CONFIRMED, max(0, configurations - 1))


def _expected(flags: Flags, lanes: int, seats: int) -> Expectation:
    return expect(
        trials=flags.trials, epochs=flags.epochs, lanes=lanes, seats=seats, reduction_factor=flags.reduction_factor,
        grace_period=flags.grace_period, learns=flags.sampler != "random",
    )  # fmt: skip


def _final(flags: Flags) -> FinalName | Literal["auto"]:
    """The value of --final, checked as far as the flags decide. That comes before the data is opened, because opening
    may write the built-in images."""
    for known in ("auto", *get_args(FinalName)):
        if flags.final == known:
            check_final(known, parse_folds(flags.folds))
            return known
    raise UserError(f"--final must be one of auto, {', '.join(get_args(FinalName))}, got {flags.final!r}.")


def _space(flags: Flags, *, elsewhere: bool) -> SearchSpace:
    """`auto` is `deep`, but `wide` on CPUs, where a step that runs an encoder takes many times as long."""
    if flags.space != "auto":
        return load_space(flags.space)
    gpus, _ = devices(flags, elsewhere=elsewhere)
    return load_space("deep" if gpus else "wide")


def _warm_start(flags: Flags, space: SearchSpace) -> Path | None:
    """The absolute folder of the earlier search, after checking that its trials can be used; None without one."""
    if flags.warm_start is None:
        return None
    usable_trials(flags.warm_start, space)
    return flags.warm_start.resolve()


def _may_train_mask_decoder(space: SearchSpace) -> bool:
    return any("mask_decoder" in modules for modules in space.possible("train.full_modules"))


def _widest_augment(space: SearchSpace) -> Augment:
    """The `data.augment` of the space with the most variants of an image; it includes those of the others."""
    return max(space.possible("data.augment"), key=lambda augment: len(variants_of(augment)))
