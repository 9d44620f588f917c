"""Reads public retinal data sets as they are distributed: DRIVE, STARE and CHASE_DB1.

DRIVE: `training/` and `test/`, each with `images/21_training.tif` and `1st_manual/21_manual1.gif`. Test images that
have a truth are the test part, as in publications. `mask/` holds the field of view and is not a truth.
STARE: `im0001.ppm` with the first observer's `im0001.ah.ppm`, beside it or in `labels-ah/`; packed (`.ppm.gz`), as
distributed, or unpacked.
CHASE_DB1: `Image_01L.jpg` with the first observer's `Image_01L_1stHO.png` beside it. Both eyes of a child are a group.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tune_sa2va.data.dataset import Dataset, Fault, Problem
from tune_sa2va.data.endings import image_stem
from tune_sa2va.data.readers.naming import (
    group_from_name,
    image_files,
    in_order,
    leads_out,
    name_in,
    outside_problem,
    unread_files,
)
from tune_sa2va.data.sample import Sample, Split

_MANUAL = "1st_manual"
_DRIVE_STEM = re.compile(r"(\d+)_(training|test)$")
_DRIVE_TRUTH = re.compile(r"(\d+)_manual1$")
_CHASE = re.compile(r"Image_(\d+)[LR]$")
_SECOND_OBSERVERS = ("_2ndHO", ".vk")
_FIRST_OBSERVERS = ("_1stHO", ".ah")
_STARE_FOLDERS = ("stare-images", "images", ".")
_STARE_LABELS = ("labels-ah", ".")


@dataclass(frozen=True, kw_only=True, slots=True)
class _Pair:
    image: Path
    truth: Path | None
    group: str
    split: Split | None = None


def read_retinal(root: Path, *, allow_outside: bool) -> Dataset | None:
    """The data set in `root`; None if it is none of the three."""
    folders = [folder for folder in (root / "training", root / "test", root) if (folder / _MANUAL).is_dir()]
    if folders:
        pairs = [pair for folder in folders for pair in _drive(folder)]
        read = [place for folder in folders for place in (folder / "images", folder / _MANUAL)]
        unlabelled = [root / "test" / "images"] if root / "test" not in folders else []
        pairs += [
            _Pair(image=image, truth=None, group=image_stem(image))
            for place in unlabelled
            for image in image_files(place)
        ]
    else:
        pairs = list(_by_observer(root))
        read = []
    if not pairs:
        return None
    samples, problems = [], [problem for place in read for problem in unread_files(root, place)]
    for pair in pairs:
        name = name_in(root, pair.image)
        if pair.truth is None:
            message = "There is no truth by the first observer. The image is left out."
            problems.append(Problem(fault=Fault.NOT_ANNOTATED, file=name, message=message))
        elif not allow_outside and (outside := [path for path in (pair.image, pair.truth) if leads_out(root, path)]):
            problems.append(outside_problem(name, name_in(root, outside[0])))
        else:
            samples.append(Sample(name=name, image=pair.image, mask=pair.truth, group=pair.group, split=pair.split))
    return Dataset(root=root, samples=in_order(samples), problems=tuple(problems))


def _drive(folder: Path) -> Iterator[_Pair]:
    truths = {
        found[1]: path for path in image_files(folder / _MANUAL) if (found := _DRIVE_TRUTH.match(image_stem(path)))
    }
    for image in image_files(folder / "images"):
        found = _DRIVE_STEM.match(image_stem(image))
        if found:
            is_test = found[2] == "test"
            yield _Pair(image=image, truth=truths.get(found[1]), group=found[1], split="test" if is_test else None)
        else:
            yield _Pair(image=image, truth=None, group=image_stem(image))


def _by_observer(root: Path) -> Iterator[_Pair]:
    """Images paired with the first observer's truth (STARE, CHASE_DB1); nothing if `root` has no such truth."""
    truths: dict[str, Path] = {}
    for folder in _STARE_LABELS:
        for path in image_files(root / folder):
            for ending in _FIRST_OBSERVERS:
                if image_stem(path).endswith(ending):
                    truths.setdefault(image_stem(path).removesuffix(ending), path)
    if not truths:
        return
    for folder in _STARE_FOLDERS:
        for image in image_files(root / folder):
            if image_stem(image).endswith((*_FIRST_OBSERVERS, *_SECOND_OBSERVERS)):
                continue
            child = _CHASE.match(image_stem(image))
            group = child[1] if child else group_from_name(name_in(root, image))
            yield _Pair(image=image, truth=truths.get(image_stem(image)), group=group)
