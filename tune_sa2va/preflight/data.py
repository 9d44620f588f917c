"""The images of a search: where they are, their faults, and how they are split into parts and folds."""

import os
from collections.abc import Sequence
from pathlib import Path

from tune_sa2va.cache.place import CACHE_VARIABLE, cache_folder
from tune_sa2va.data import CheckReport, Sample, check, open_dataset, split_by_group
from tune_sa2va.data.parts import cut_into_folds, fitting_folds, num_folds
from tune_sa2va.data.procedural import DEMO_FAMILY
from tune_sa2va.data.procedural.folder import write_folder
from tune_sa2va.data.rules import Rules
from tune_sa2va.errors import DataError, UserError
from tune_sa2va.evaluate.tuned import FinalName
from tune_sa2va.propose.inherited_split import split_after
from tune_sa2va.results.settings import SearchSettings

_FINAL_OF_FOLDS: FinalName = "refit"
"""What `--final auto` exports with folds. It scored best on locked patients (results/replay/README.md, `bench final`),
and the adapter has the rank of its configuration."""

_BUILTIN_IMAGES, _BUILTIN_SIZE_PX, _BUILTIN_SEED = 40, 256, 0


def data_source(data: str | None) -> Path:
    """The absolute path of what `--data` names; for None the folder of the built-in images, written if missing.

    Raises:
        UserError: the built-in images cannot be written.
    """
    if data is not None:
        given = os.path.expanduser(data)  # noqa: PTH111
        return Path(given).absolute()  # links are not resolved: paths in a linked list are relative to the link
    folder = cache_folder() / "builtin" / f"{DEMO_FAMILY}-{_BUILTIN_IMAGES}x{_BUILTIN_SIZE_PX}-{_BUILTIN_SEED}"
    if not folder.exists():
        try:
            write_folder(folder, DEMO_FAMILY, count=_BUILTIN_IMAGES, size=_BUILTIN_SIZE_PX, seed=_BUILTIN_SEED)
        except (DataError, OSError) as error:
            # Another search that started at the same time may have been first; it writes the same images.
            if not (folder / "manifest.csv").is_file():
                raise UserError(
                    f"{folder}: the built-in images cannot be written ({error}). Set {CACHE_VARIABLE}."
                ) from error
    return folder


def examine_data(settings: SearchSettings) -> tuple[CheckReport, tuple[Sample, ...]]:
    """Checks all images. Returns the report, and the samples with their parts and folds; none if there are errors.

    With a warm start the images of the earlier search keep their parts.

    Raises:
        DataError: there is no data set, or it cannot be split, or not into that many folds.
    """
    data = settings.data
    report = check(open_dataset(data.source, allow_outside=data.allow_outside, rules=Rules.of(data)))
    if report.errors or not report.samples:
        return report, ()
    ratios, seed = data.ratios, data.split_seed
    if settings.warm_start is not None:
        samples = split_after(report.samples, settings.warm_start, ratios, seed=seed)
    else:
        samples = split_by_group(report.samples, ratios, seed=seed)
    folds = fitting_folds(samples) if settings.folds is None else settings.folds
    return report, cut_into_folds(samples, folds, seed=seed)


def with_folds(settings: SearchSettings, samples: Sequence[Sample]) -> SearchSettings:
    """The settings with `auto` resolved for `folds` and `final`. samples: those of `examine_data`.

    Raises:
        UserError: `final` needs the adapters of several folds, and there is one split.
    """
    folds, final = num_folds(samples), settings.final
    if final == "auto":
        final = "best-run" if folds == 1 else _FINAL_OF_FOLDS
    check_final(final, folds)
    return settings.model_copy(update={"folds": folds, "final": final})


def check_final(final: str, folds: int | None) -> None:
    """Checks that `final` can be made from `folds` folds. folds: None while the images have not decided it.

    Raises:
        UserError: `final` needs the adapters of several folds, and there is one split.
    """
    if folds == 1 and final in ("average", "ensemble"):
        raise UserError(
            f"--final {final} needs the adapters of several folds, and with one split a trial has one adapter. "
            "Use --folds 5 or --final best-run."
        )
