"""The precision of a search: what --precision asks for, and whether cards and model can compute in it."""

from collections.abc import Sequence

from tune_sa2va.config import ModelSettings, Precision
from tune_sa2va.errors import CheckpointError, DeviceError, UserError
from tune_sa2va.preflight.flags import Flags

CHOICES = ("auto", "fp8")


def precision_of(flags: Flags, gpus: int, *, elsewhere: bool = False) -> Precision:
    """The precision of the base in a search on `gpus` GPUs: `auto` is bf16, or fp32 on CPUs.

    elsewhere: as in `devices`.

    Raises:
        UserError: --precision is unknown, or the GPUs of this machine have no fp8. Those of a cluster and of --card are
            not here to be asked; there a lane says so when it starts.
    """
    if flags.precision not in CHOICES:
        raise UserError(f"--precision must be one of {', '.join(CHOICES)}, got {flags.precision!r}.")
    if flags.precision == "auto":
        return "bf16" if gpus else "fp32"
    if not gpus:
        raise DeviceError(
            "--precision fp8 needs GPUs with fp8 (compute capability 8.9 or more: Ada, Hopper and later), and the "
            "search runs on CPUs. Leave it out."
        )
    if flags.address is None and not elsewhere:
        import torch  # takes seconds, so only for fp8

        check_cards(
            [(torch.cuda.get_device_name(number), torch.cuda.get_device_capability(number)) for number in range(gpus)]
        )
    return "fp8"


def check_cards(found: Sequence[tuple[str, tuple[int, int]]]) -> None:
    """Checks cards, as (name, compute capability).

    Raises:
        DeviceError: one has no fp8.
    """
    from tune_sa2va.model.fp8 import without_fp8

    for name, capability in found:
        if problem := without_fp8(name, capability):
            raise DeviceError(problem)


def examine_layers(settings: ModelSettings) -> None:
    """Checks that the base can be quantised, if its precision is fp8.

    Raises:
        CheckpointError: its layers have sides that fp8 products do not take.
    """
    if settings.precision != "fp8":
        return
    from tune_sa2va.model.checkpoint import outline_of
    from tune_sa2va.model.fp8 import misfit
    from tune_sa2va.model.locate import model_folder

    folder = model_folder(settings.model)
    if problem := misfit(outline_of(folder).language_model):
        raise CheckpointError(f"{folder}: {problem}")
