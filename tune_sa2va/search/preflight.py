"""Everything that can be wrong before a search, found before Ray starts and before anything is written.

`plan` turns flags into `SearchSettings`; `examine_data` checks and splits the images; `prepare` makes the results
folder. Each fault is one sentence with its cure.
"""

import math
import os
import re
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, get_args

from tune_sa2va.cache.place import CACHE_VARIABLE, cache_folder, features_folder
from tune_sa2va.config import Augment, DataSettings, MemoryMode, ModelSettings
from tune_sa2va.data import CheckReport, Sample, check, fingerprint, open_dataset, split_by_group
from tune_sa2va.data.procedural import DEMO_FAMILY
from tune_sa2va.data.procedural.folder import write_folder
from tune_sa2va.data.split_file import read_split, write_split
from tune_sa2va.data.variants import variants_of
from tune_sa2va.errors import DataError, DeviceError, ResultsError, UserError
from tune_sa2va.search.base_model import examine_model
from tune_sa2va.search.environment import write_environment
from tune_sa2va.search.inherit import inherit, usable_trials, write_inherited
from tune_sa2va.search.records import read_epochs, read_trials
from tune_sa2va.search.settings import SamplerName, SearchSettings
from tune_sa2va.search.space import SearchSpace, load_space

_BUILTIN_IMAGES, _BUILTIN_SIZE_PX, _BUILTIN_SEED = 40, 256, 0
_MAX_CPU_LANES, _MAX_THREADS_ON_GPU = 4, 4


@dataclass(frozen=True, kw_only=True, slots=True)
class Flags:
    """The command line as given; None where a flag was left out and its default depends on the machine."""

    data: str | None
    allow_outside: bool
    model: str
    space: str
    out: Path
    name: str | None
    storage: str | None
    trials: int
    epochs: int
    confirm: int
    seeds: int
    time_budget_min: float | None
    sampler: str
    warm_start: Path | None
    seed: int
    gpus: int | None
    gpus_per_trial: int
    lanes: int | None
    max_disk_gib: float | None
    cache_limit_gib: float | None
    memory: str
    address: str | None

    @classmethod
    def of(cls, parameters: Mapping[str, Any]) -> "Flags":
        """Out of a command's parameters, which have the names of the fields; others among them do not matter."""
        return cls(**{field.name: parameters[field.name] for field in fields(cls)})


def plan(flags: Flags) -> SearchSettings:
    """The search that the flags ask for. Writes nothing but, without --data, the built-in images to the cache.

    Raises:
        UserError: a flag, the space file or the model cannot be used.
    """
    check_numbers(flags)
    out, name = _out_and_name(flags)
    _check_folder(out, name)
    sampler = _sampler(flags.sampler)
    space = load_space(flags.space)
    gpus, lanes = _devices(flags)
    storage = _storage(flags.storage, out, name)
    return SearchSettings(
        name=name,
        out=out,
        model=ModelSettings(model=examine_model(flags.model), precision="bf16" if gpus else "fp32"),
        data=DataSettings(
            source=str(_data_source(flags.data)), split_seed=flags.seed, allow_outside=flags.allow_outside
        ),
        space_file=space.source,
        space=space.to_dict(),
        gpus=gpus,
        gpus_per_trial=flags.gpus_per_trial,
        lanes=lanes,
        cpus_per_worker=_cpus_per_worker(flags, lanes, gpus),
        trials=flags.trials,
        epochs=flags.epochs,
        confirm=flags.confirm,
        seeds=flags.seeds,
        time_budget_s=None if flags.time_budget_min is None else flags.time_budget_min * 60,
        sampler=sampler,
        warm_start=_warm_start(flags),
        storage=storage,
        seed=flags.seed,
        max_disk_gib=flags.max_disk_gib,
        cache_limit_gib=flags.cache_limit_gib,
        address=flags.address,
        feature_cache=features_folder(),
        raw_high_res=_may_train_mask_decoder(space),
        augment=_widest_augment(space),
        checkpointed=flags.memory == "checkpoint",
    )


def faults(flags: Flags) -> list[str]:
    """Everything that `plan` would refuse, where it stops at the first."""
    checks: tuple[Callable[[], object], ...] = (
        lambda: check_numbers(flags),
        lambda: _check_folder(*_out_and_name(flags)),
        lambda: _sampler(flags.sampler),
        lambda: load_space(flags.space),
        lambda: _warm_start(flags),
        lambda: _devices(flags),
        lambda: _storage(flags.storage, *_out_and_name(flags)),
        lambda: examine_model(flags.model),
        lambda: open_dataset(_data_source(flags.data), allow_outside=flags.allow_outside),
    )
    found = []
    for check_one in checks:
        try:
            check_one()
        except UserError as error:
            found.append(str(error))
    return list(dict.fromkeys(found))


def examine_data(settings: SearchSettings) -> tuple[CheckReport, tuple[Sample, ...]]:
    """The check of all images, and their samples with parts; none where the check found errors.

    Raises:
        DataError: no data set there, or it cannot be split.
    """
    report = check(open_dataset(settings.data.source, allow_outside=settings.data.allow_outside))
    if report.errors or not report.samples:
        return report, ()
    return report, split_by_group(report.samples, settings.data.ratios, seed=settings.data.split_seed)


def examine_results(settings: SearchSettings) -> None:
    """Whether a search can go on: its base model, its images, its tables and its storage are there, and whole.

    Raises:
        UserError: one is not.
    """
    examine_model(settings.model.model)
    read_split(settings.folder, settings.data)
    read_trials(settings.folder)
    read_epochs(settings.folder)
    if settings.storage is not None:
        _examine_copy(settings, settings.storage)


def _examine_copy(settings: SearchSettings, storage: str) -> None:
    from tune_sa2va.search.storage.copying import ResultsCopy
    from tune_sa2va.search.storage.place import Place, join, one_line

    Place.open("--storage", storage).check_writable("--storage")
    place = Place.open("--storage", join(storage, settings.name))
    try:
        ResultsCopy(settings.folder, place).check_ours()
    except OSError as error:
        raise ResultsError(
            f"--storage {storage}: cannot be read ({one_line(error)}). Check who may read there."
        ) from error


def prepare(settings: SearchSettings, samples: tuple[Sample, ...]) -> None:
    """Makes the results folder with `search.yaml`, `environment.json`, `names.parquet` and `split.parquet`.

    With a warm start also `inherited.json`.

    Raises:
        UserError: the folder cannot be made, or another search took the name meanwhile.
    """
    from tune_sa2va.model.locate import model_folder

    unfinished = settings.folder.with_name(f".{settings.name}.{os.getpid()}.part")
    try:
        unfinished.mkdir(parents=True)
        write_split(unfinished, samples)
        model = settings.model.model
        write_environment(
            unfinished, model=model, model_folder=model_folder(model), data_fingerprint=fingerprint(samples)
        )
        if settings.warm_start is not None:
            write_inherited(unfinished, inherit(settings, settings.warm_start, unfinished))
        settings.save(unfinished)
        unfinished.rename(settings.folder)  # whole or not at all; fails where another search's files are
    except OSError as error:
        shutil.rmtree(unfinished, ignore_errors=True)
        if settings.folder.exists():
            raise UserError(_name_used(settings.folder)) from error
        raise UserError(f"{settings.folder}: cannot be made ({error.strerror}). Choose another --out.") from error


def check_numbers(flags: Flags) -> None:
    """Whether the numbers among the flags lie where they may.

    Raises:
        UserError: one does not.
    """
    for flag, value in (("--trials", flags.trials), ("--epochs", flags.epochs)):
        if not 1 <= value <= 10_000:
            raise UserError(f"{flag} must be from 1 to 10000, got {value}.")
    for flag, value, least in (("--confirm", flags.confirm, 0), ("--seeds", flags.seeds, 1)):
        if not least <= value <= 100:
            raise UserError(f"{flag} must be from {least} to 100, got {value}.")
    if flags.memory not in get_args(MemoryMode):
        raise UserError(f"--memory must be one of {', '.join(get_args(MemoryMode))}, got {flags.memory!r}.")
    limits = (
        ("--time-budget", flags.time_budget_min, "minutes"),
        ("--max-disk", flags.max_disk_gib, "GiB"),
        ("--cache-limit", flags.cache_limit_gib, "GiB"),
    )
    for flag, limit, unit in limits:
        if limit is not None and not 0 < limit < math.inf:
            raise UserError(f"{flag} must be above 0 {unit}, got {limit:g}.")
    if not 0 <= flags.seed < 2**31:
        raise UserError(f"--seed must be from 0 to 2147483647, got {flags.seed}.")


def _out_and_name(flags: Flags) -> tuple[Path, str]:
    out = Path(os.path.expanduser(flags.out)).resolve()  # noqa: PTH111 (Path.expanduser raises for unknown users)
    return out, flags.name if flags.name is not None else time.strftime("%Y%m%d-%H%M%S")


def _check_folder(out: Path, name: str) -> None:
    if not re.fullmatch(r"[A-Za-z0-9._-]{1,100}", name) or name.strip(".") == "":
        raise UserError(f"--name may have letters, digits and . _ - (at most 100), got {name!r}.")
    if (out / name).exists():
        raise UserError(_name_used(out / name))
    nearest = next(folder for folder in (out, *out.parents) if folder.exists())
    if not nearest.is_dir():
        raise UserError(f"--out {out}: {nearest} is a file. Choose another folder.")
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise UserError(f"--out {out}: {nearest} cannot be written. Choose another folder.")


def _name_used(folder: Path) -> str:
    return f"{folder} exists already. Choose another --name, or go on with that search by --resume {folder}."


def _sampler(name: str) -> SamplerName:
    for known in get_args(SamplerName):
        if name == known:
            return known
    raise UserError(f"--sampler must be one of {', '.join(get_args(SamplerName))}, got {name!r}.")


def _warm_start(flags: Flags) -> Path | None:
    """The earlier search's folder, absolute, once its trials are known to be of use."""
    if flags.warm_start is None:
        return None
    usable_trials(flags.warm_start, load_space(flags.space))
    return flags.warm_start.resolve()


def _storage(uri: str | None, out: Path, name: str) -> str | None:
    """The URI, once the place is known to take a copy of OUT/NAME."""
    if uri is None:
        return None
    from tune_sa2va.search.storage.place import Place, join, one_line

    parent, place = Place.open("--storage", uri), Place.open("--storage", join(uri, name))
    if (local := place.local) is not None and (out / name in (local, *local.parents) or local in (out / name).parents):
        raise ResultsError(
            f"--storage {uri}: {local} is in the results folder {out / name} itself. Name another place."
        )
    parent.check_writable("--storage")
    try:
        is_taken = bool(place.sizes())
    except OSError as error:
        raise ResultsError(f"--storage {uri}: cannot be read ({one_line(error)}). Check who may read there.") from error
    if is_taken:
        raise ResultsError(
            f"--storage {uri}: holds {name} already. Choose another --name, or go on with that search by "
            f"--resume {place.uri}."
        )
    return uri


def _devices(flags: Flags) -> tuple[int, int]:
    """GPUs and lanes."""
    if flags.gpus_per_trial < 1:
        raise DeviceError(f"--gpus-per-trial must be 1 or more, got {flags.gpus_per_trial}.")
    if flags.gpus is not None and flags.gpus < 0:
        raise DeviceError(f"--gpus must be 0 or more, got {flags.gpus}.")
    if flags.address is not None and flags.gpus is None:
        raise DeviceError("--address needs --gpus: how many of the cluster's GPUs the search may take (0 for CPUs).")
    gpus = flags.gpus
    if flags.address is None and gpus != 0:
        import torch  # takes seconds, so only where GPUs are asked for

        here = torch.cuda.device_count()
        if gpus is not None and gpus > here:
            raise DeviceError(f"--gpus {gpus}: this machine has {here}. Ask for at most {here} (0 runs on the CPU).")
        gpus = here if gpus is None else gpus
    if not gpus:
        if flags.gpus_per_trial > 1:
            raise DeviceError(
                f"--gpus-per-trial {flags.gpus_per_trial} needs GPUs, and the search runs on CPUs. Leave it out."
            )
        return 0, _cpu_lanes(flags)
    if flags.lanes is not None:
        raise DeviceError(
            "--lanes is for searches on CPUs; on GPUs there are --gpus / --gpus-per-trial lanes. Leave it out."
        )
    if gpus % flags.gpus_per_trial:
        raise DeviceError(
            f"--gpus {gpus} cannot be shared out by {flags.gpus_per_trial} a trial. "
            f"Make --gpus a multiple of --gpus-per-trial."
        )
    return gpus, gpus // flags.gpus_per_trial


def _cpu_lanes(flags: Flags) -> int:
    if flags.lanes is None:
        return max(1, min(os.cpu_count() or 1, _MAX_CPU_LANES, flags.trials))
    if not 1 <= flags.lanes <= 256:
        raise DeviceError(f"--lanes must be from 1 to 256, got {flags.lanes}.")
    return flags.lanes


def _cpus_per_worker(flags: Flags, lanes: int, gpus: int) -> int:
    """Threads of a worker: a fair share of this machine; of another one we only know that it is not ours.

    A worker on a GPU gets few: its threads only stack batches, and more of them wait in a loop for each other.
    """
    if flags.address is not None:
        return 1
    workers = lanes * (flags.gpus_per_trial if gpus else 1)
    share = max(1, (os.cpu_count() or 1) // workers)
    return min(share, _MAX_THREADS_ON_GPU) if gpus else share


def _data_source(data: str | None) -> Path:
    if data is not None:
        given = os.path.expanduser(data)  # noqa: PTH111
        return Path(given).absolute()  # not resolved: a link to a list stays in its folder
    folder = cache_folder() / "builtin" / f"{DEMO_FAMILY}-{_BUILTIN_IMAGES}x{_BUILTIN_SIZE_PX}-{_BUILTIN_SEED}"
    if not folder.exists():
        try:
            write_folder(folder, DEMO_FAMILY, count=_BUILTIN_IMAGES, size=_BUILTIN_SIZE_PX, seed=_BUILTIN_SEED)
        except (DataError, OSError) as error:
            # Another search that started now may have been first; its images are the same.
            if not (folder / "manifest.csv").is_file():
                raise UserError(
                    f"{folder}: the built-in images cannot be written ({error}). Set {CACHE_VARIABLE}."
                ) from error
    return folder


def _may_train_mask_decoder(space: SearchSpace) -> bool:
    return any("mask_decoder" in modules for modules in space.possible("train.full_modules"))


def _widest_augment(space: SearchSpace) -> Augment:
    """The `data.augment` that shows images in the most ways; it takes in the others."""
    return max(space.possible("data.augment"), key=lambda augment: len(variants_of(augment)))
