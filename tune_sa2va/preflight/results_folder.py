"""The results folder of a new search: checks that it can be made, and makes it with its first files."""

import os
import re
import shutil
import time
from pathlib import Path

from tune_sa2va.data import Sample, fingerprint
from tune_sa2va.data.split_file import write_split
from tune_sa2va.errors import UserError
from tune_sa2va.preflight.flags import Flags
from tune_sa2va.propose.warm_start import inherit, write_inherited
from tune_sa2va.results.environment import write_environment
from tune_sa2va.results.settings import SearchSettings


def out_and_name(flags: Flags) -> tuple[Path, str]:
    """The absolute folder of all results, and the name of this search: date and time if none was given."""
    out = Path(os.path.expanduser(flags.out)).resolve()  # noqa: PTH111 (Path.expanduser raises for unknown users)
    return out, flags.name if flags.name is not None else time.strftime("%Y%m%d-%H%M%S")


def check_folder(out: Path, name: str) -> None:
    """Checks that `name` is valid and that OUT/NAME is not taken and can be made.

    Raises:
        UserError: one of these does not hold.
    """
    if not re.fullmatch(r"[A-Za-z0-9._-]{1,100}", name) or name.strip(".") == "":
        raise UserError(f"--name must be 1 to 100 letters, digits and . _ -, and not only dots, got {name!r}.")
    if (out / name).exists():
        raise UserError(_name_used(out / name))
    nearest = next(folder for folder in (out, *out.parents) if folder.exists())
    if not nearest.is_dir():
        raise UserError(f"--out {out}: {nearest} is a file. Choose another folder.")
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise UserError(f"--out {out}: {nearest} cannot be written. Choose another folder.")


def make_results_folder(settings: SearchSettings, samples: tuple[Sample, ...]) -> None:
    """Makes the results folder with `search.yaml`, `environment.json`, `names.parquet` and `split.parquet`.

    With a warm start it also has `inherited.json`.

    Raises:
        UserError: the folder cannot be made, or another search has taken the name since `check_folder`.
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
        unfinished.rename(settings.folder)  # atomic; fails if another search's folder is there
    except OSError as error:
        shutil.rmtree(unfinished, ignore_errors=True)
        if settings.folder.exists():
            raise UserError(_name_used(settings.folder)) from error
        raise UserError(f"{settings.folder}: cannot be made ({error.strerror}). Choose another --out.") from error


def _name_used(folder: Path) -> str:
    return f"{folder} exists already. Choose another --name, or continue that search with --resume {folder}."
