"""Reads a folder with `images/` and `masks/`, paired by stem: `images/NAME.jpg`, `masks/NAME.png` or `NAME_mask.png`.

Any image ending will do on either side; names of masks may also end as in retinal data sets. A `dataset.json` with
nnU-Net's `labels` makes the masks label maps. Files of other kinds, and folders inside `images/`, are problems, since
they would be missed silently. Groups come from file names.
"""

from collections import defaultdict
from pathlib import Path

from tune_sa2va.data.dataset import Dataset, Fault, Problem
from tune_sa2va.data.endings import IMAGE_SUFFIXES, image_stem
from tune_sa2va.data.labels import labels_of_nnunet
from tune_sa2va.data.readers.naming import (
    IMAGES,
    group_from_name,
    image_files,
    in_order,
    leads_out,
    name_in,
    outside_problem,
    plain,
    unread_files,
)
from tune_sa2va.data.readers.nnunet import DATASET_FILE, load_about
from tune_sa2va.data.sample import Sample
from tune_sa2va.errors import DataError

MASKS = "masks"
"""Name of the folder that holds the masks of a data set."""
_MASK_ENDINGS = ("_mask", ".ah", ".vk", "_manual1", "_1stHO")
"""What a mask's stem may add to its image's: our own, STARE's two observers, DRIVE's and CHASE_DB1's first."""


def read_folder(root: Path, *, allow_outside: bool = False) -> Dataset:
    """The pairs in `root` as samples. Raises DataError if `images/` or `masks/` is missing."""
    for wanted in (IMAGES, MASKS):
        if not (root / wanted).is_dir():
            raise DataError(
                f"{root}: a data set has manifest.csv, manifest.parquet, annotations.json, instances.json, LabelMe's "
                f"files, or the folders {IMAGES}/ and {MASKS}/; {wanted}/ is missing. Add it, or give another folder."
            )
    problems = [
        Problem(
            fault=Fault.BAD_ENTRY,
            file=name_in(root, path),
            message=f"A folder inside {IMAGES}/ is not read. Move its images up, or list them in a manifest.csv.",
        )
        for path in sorted((root / IMAGES).iterdir())
        if path.is_dir() and not path.name.startswith(".")
    ]
    problems += [*unread_files(root, root / IMAGES), *unread_files(root, root / MASKS)]
    images = _by_stem(image_files(root / IMAGES))
    masks = _by_image_stem(image_files(root / MASKS), frozenset(images))
    samples = []
    for stem, paths in images.items():
        found = masks.pop(stem, [])
        name = name_in(root, paths[0])
        if len(paths) > 1 or len(found) > 1:
            doubles = ", ".join(name_in(root, path) for path in (*paths, *found))
            message = f"There must be one image and one mask of each name, got {doubles}. Keep one of each."
            quoted = tuple(name_in(root, path) for path in (*paths, *found))
            problems.append(Problem(fault=Fault.LISTED_TWICE, file=name, message=message, names=quoted))
        elif not found:
            endings = ", ".join(sorted(IMAGE_SUFFIXES))
            quoted = (stem, f"{stem}{_MASK_ENDINGS[0]}")
            message = f"Needs a mask {MASKS}/{stem} or {MASKS}/{stem}{_MASK_ENDINGS[0]} with one of {endings}. Add it."
            problems.append(Problem(fault=Fault.MISSING_MASK, file=name, message=message, names=quoted))
        elif not allow_outside and (outside := [path for path in (paths[0], found[0]) if leads_out(root, path)]):
            problems.append(outside_problem(name, name_in(root, outside[0])))
        else:
            samples.append(Sample(name=name, image=paths[0], mask=found[0], group=group_from_name(name)))
    for path in sorted(path for left in masks.values() for path in left):
        message = f"No image in {IMAGES}/ has this name, or its ending is not read. Add it, or remove the mask."
        problems.append(Problem(fault=Fault.EXTRA_MASK, file=name_in(root, path), message=message))
    if (root / DATASET_FILE).is_file():
        labels = labels_of_nnunet(load_about(root)["labels"], root / DATASET_FILE)
        samples = [
            each for sample in samples if isinstance(sample.mask, Path) for each in labels.of(sample, sample.mask)
        ]
    return Dataset(root=root, samples=in_order(samples), problems=tuple(problems))


def _by_stem(paths: list[Path]) -> dict[str, list[Path]]:
    stems: dict[str, list[Path]] = defaultdict(list)
    for path in paths:
        stems[plain(image_stem(path))].append(path)
    return dict(stems)


def _by_image_stem(paths: list[Path], image_stems: frozenset[str]) -> dict[str, list[Path]]:
    """Stem of an image -> its mask files. An image that is itself called `NAME_mask` keeps its own mask."""
    stems: dict[str, list[Path]] = defaultdict(list)
    for path in paths:
        stem = plain(image_stem(path))
        if stem not in image_stems:
            stem = next((stem.removesuffix(ending) for ending in _MASK_ENDINGS if stem.endswith(ending)), stem)
        stems[stem].append(path)
    return dict(stems)
