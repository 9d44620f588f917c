"""Whether an interrupted search can go on: model, images, masks, tables and copy are there, whole, and the same."""

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
_CURE = "Put back what the search began with, or start a new search."


def examine_results(settings: SearchSettings) -> None:
    """Whether a search can go on: its base model, its images, its tables and its storage are there, and whole, or can
    be made again (`results.mending`).

    Raises:
        UserError: one is not, Ray could not start, or the model, an image or a mask holds something else than when the
            search began.
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
        f"{folder}: is not the base model that the search began with (SHA-256 {wanted[:12]}... then, {found[:12]}... "
        f"now{which}). {_CURE}"
    )


def _check_content(settings: SearchSettings, samples: Sequence[Sample], environment: Environment) -> None:
    """Compares what the files hold; a search that an older tune_sa2va began knows its images, and no single mask."""
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
        raise DataError(f"{settings.data.source}: some masks are not those that the search began with. {_CURE}")


def _known_content(folder: Path) -> KnownImages | None:
    """None where it is damaged, too: images have their codes, and masks the fingerprint."""
    try:
        return read_content(folder)
    except DataError:
        return None


def _check_inherited(settings: SearchSettings) -> None:
    if settings.warm_start is not None and read_inherited(settings.folder) is None:
        raise ResultsError(
            f"{settings.folder / INHERITED_FILE}: is gone; it says what the sampler was told of the earlier search. "
            "Put back a copy of it, or start a new search."
        )


def _refuse(source: str, images: Sequence[Sample], masks: Sequence[Sample]) -> None:
    changed = [
        f"{len(samples)} {kind}{'' if len(samples) == 1 else 's'} ({_named([sample.name for sample in samples])})"
        for kind, samples in (("image", images), ("mask", masks))
        if samples
    ]
    if changed:
        raise DataError(f"{source}: {' and '.join(changed)} hold something else than when the search began. {_CURE}")


def _named(names: Sequence[str]) -> str:
    return f"{', '.join(names[:_NAMED])}{', ...' if len(names) > _NAMED else ''}"
