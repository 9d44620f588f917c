"""Whether an interrupted search can be resumed: model, images, masks, tables and copy are intact and unchanged."""

from collections.abc import Sequence
from pathlib import Path

from tune_sa2va.data import Sample, fingerprint
from tune_sa2va.data.codes import image_code
from tune_sa2va.data.content import content_of
from tune_sa2va.data.known_images import KnownImages, read_content
from tune_sa2va.data.split_file import NAMES_FILE, find_samples
from tune_sa2va.distribution import package_version
from tune_sa2va.errors import CheckpointError, DataError, ResultsError
from tune_sa2va.model.locate import model_folder
from tune_sa2va.preflight.base_model import examine_model
from tune_sa2va.preflight.copy_place import examine_copy
from tune_sa2va.preflight.paths import check_spelling
from tune_sa2va.propose.warm_start import FILE_NAME as INHERITED_FILE
from tune_sa2va.propose.warm_start import read_inherited
from tune_sa2va.results.environment import Environment, read_environment
from tune_sa2va.results.mending import find_mends, known_names
from tune_sa2va.results.settings import SearchSettings
from tune_sa2va.results.snapshots import Snapshots
from tune_sa2va.results.test_scores import read_locked_part

_NAMED = 3
_CURE = "Put back what the search started with, or start a new search."


def examine_results(settings: SearchSettings) -> None:
    """Checks that a search can be resumed: its base model, images, tables and storage are intact, or can be restored
    (`results.mending`).

    Raises:
        UserError: one of them is missing or damaged, or the content of the model, an image or a mask has changed since
            the search started.
    """
    package_version()
    check_spelling("--resume", settings.folder)
    examine_model(settings.model.model)
    find_mends(settings)
    samples = find_samples(known_names(settings), settings.data)
    environment = read_environment(settings.folder)
    _check_model(model_folder(settings.model.model), environment)
    _check_content(settings, samples, environment)
    read_locked_part(settings.folder)
    _check_inherited(settings)
    Snapshots(settings.folder).newest()
    if settings.storage is not None:
        examine_copy(settings, settings.storage)


def _check_model(folder: Path, environment: Environment) -> None:
    from tune_sa2va.model.identity import model_files, model_hash

    wanted, found = environment.base_model.sha256, model_hash(folder)
    if wanted == found:
        return
    then, now = environment.base_model_files, model_files(folder)
    changed = sorted(name for name in {*then, *now} if then.get(name) != now.get(name))
    which = f"; of its files, {_named(changed)} differ" if then else ""
    raise CheckpointError(
        f"{folder}: is not the base model that the search started with (SHA-256 {wanted[:12]}... then, "
        f"{found[:12]}... now{which}). {_CURE}"
    )


def _check_content(settings: SearchSettings, samples: Sequence[Sample], environment: Environment) -> None:
    """Compares the content of images and masks with what was recorded at the start.

    A search of an older tune_sa2va has no `content.parquet`. Then images are compared one by one by their codes, and
    masks only as a whole by the data set's fingerprint.
    """
    known = _known_content(settings.folder)
    if known is not None:
        if len(known.images) != len(samples):
            raise DataError(
                f"{settings.folder}: content.parquet has {len(known.images)} images and {NAMES_FILE} {len(samples)}. "
                "Put back copies of both."
            )
        now = [content_of(sample) for sample in samples]
        pairs = list(zip(samples, [image.content for image in known.images], now, strict=True))
        images = [sample for sample, then, here in pairs if then.image_sha256 != here.image_sha256]
        masks = [sample for sample, then, here in pairs if then.mask_sha256 != here.mask_sha256]
        _refuse(settings.data.source, images, masks)
        return
    codes = [row["image_code"] for row in known_names(settings)]
    _refuse(settings.data.source, [s for s, code in zip(samples, codes, strict=True) if image_code(s) != code], [])
    if fingerprint(samples) != environment.data_fingerprint:
        raise DataError(f"{settings.data.source}: some masks are not those that the search started with. {_CURE}")


def _known_content(folder: Path) -> KnownImages | None:
    """None if there is no `content.parquet` or it is damaged: codes and fingerprint are compared instead."""
    try:
        return read_content(folder)
    except DataError:
        return None


def _check_inherited(settings: SearchSettings) -> None:
    if settings.warm_start is not None and read_inherited(settings.folder) is None:
        raise ResultsError(
            f"{settings.folder / INHERITED_FILE}: is missing; it records what the sampler was told of the earlier "
            "search. Put back a copy of it, or start a new search."
        )


def _refuse(source: str, images: Sequence[Sample], masks: Sequence[Sample]) -> None:
    changed = [
        f"{len(samples)} {kind}{'' if len(samples) == 1 else 's'} ({_named([sample.name for sample in samples])})"
        for kind, samples in (("image", images), ("mask", masks))
        if samples
    ]
    if changed:
        raise DataError(f"{source}: {' and '.join(changed)} changed since the search started. {_CURE}")


def _named(names: Sequence[str]) -> str:
    return f"{', '.join(names[:_NAMED])}{', ...' if len(names) > _NAMED else ''}"
