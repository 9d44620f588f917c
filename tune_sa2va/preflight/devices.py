"""How many GPUs, lanes and threads a search uses, and whether this machine has them."""

import os
from dataclasses import replace

from tune_sa2va.errors import DeviceError
from tune_sa2va.preflight.flags import Flags
from tune_sa2va.results.settings import SearchSettings
from tune_sa2va.words import count

_MAX_CPU_LANES, _MAX_THREADS_ON_GPU = 4, 4


def devices(flags: Flags, *, elsewhere: bool = False) -> tuple[int, int]:
    """The numbers of GPUs and of lanes. elsewhere: the GPUs are in another machine, and --gpus tells how many.

    Raises:
        UserError: the flags contradict each other, or this machine has fewer GPUs.
    """
    if flags.gpus_per_trial < 1:
        raise DeviceError(f"--gpus-per-trial must be 1 or more, got {flags.gpus_per_trial}.")
    if flags.gpus is not None and flags.gpus < 0:
        raise DeviceError(f"--gpus must be 0 or more, got {flags.gpus}.")
    if flags.address is not None and flags.gpus is None:
        raise DeviceError("--address needs --gpus: the number of the cluster's GPUs to use (0 runs on CPUs).")
    gpus = flags.gpus
    if elsewhere and not gpus:
        raise DeviceError("--card needs --gpus: the number of such cards the search would use.")
    if flags.address is None and gpus != 0 and not elsewhere:
        import torch  # takes seconds, so only when GPUs may be used

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
            "--lanes is for searches on CPUs; on GPUs the number of lanes is --gpus / --gpus-per-trial. Leave it out."
        )
    if gpus % flags.gpus_per_trial:
        raise DeviceError(
            f"--gpus must be a multiple of --gpus-per-trial {flags.gpus_per_trial}, got {gpus}. Change one of them."
        )
    return gpus, gpus // flags.gpus_per_trial


def devices_to_go_on(settings: SearchSettings, flags: Flags) -> tuple[int, int]:
    """The numbers of GPUs and of lanes with which a search is resumed: those of `flags`, or as many as it had.

    Lanes may be more or fewer, as no trial's numbers depend on them. A search stays on GPUs or on CPUs, and each trial
    on as many GPUs, since these round differently.

    Raises:
        UserError: the flags contradict each other or the search, or this machine has fewer GPUs.
    """
    gpus = settings.gpus if flags.gpus is None else flags.gpus
    if (gpus > 0) != (settings.gpus > 0):
        where, others = ("GPUs", "CPUs") if settings.gpus else ("CPUs", "GPUs")
        raise DeviceError(
            f"--gpus {gpus}: the search runs on {where}, and {others} round differently, so its trials could not be "
            "compared. Leave it out, or start a new search."
        )
    if flags.gpus is None and gpus and flags.address is None:
        import torch

        here = torch.cuda.device_count() // settings.gpus_per_trial * settings.gpus_per_trial
        if here < gpus:
            cure = f"Add --gpus {here}." if here else "Resume it where there are as many as a trial needs."
            raise DeviceError(
                f"--resume {settings.folder}: the search ran on {count(gpus, 'GPU')}, and this machine has room for "
                f"trials on {here}. {cure}"
            )
    lanes = settings.lanes if flags.lanes is None and not gpus else flags.lanes
    return devices(replace(flags, gpus=gpus, gpus_per_trial=settings.gpus_per_trial, lanes=lanes))


def cpus_per_worker(flags: Flags, lanes: int, gpus: int) -> int:
    """Threads per worker: an equal share of this machine's CPUs; 1 on a cluster, whose machines are unknown.

    A worker on a GPU gets few: its threads only assemble batches, and more of them would spin waiting for each other.
    """
    if flags.address is not None:
        return 1
    workers = lanes * (flags.gpus_per_trial if gpus else 1)
    share = max(1, (os.cpu_count() or 1) // workers)
    return min(share, _MAX_THREADS_ON_GPU) if gpus else share


def _cpu_lanes(flags: Flags) -> int:
    if flags.lanes is None:
        return max(1, min(os.cpu_count() or 1, _MAX_CPU_LANES, flags.trials))
    if not 1 <= flags.lanes <= 256:
        raise DeviceError(f"--lanes must be from 1 to 256, got {flags.lanes}.")
    return flags.lanes
