"""Finds every fault of a data set in one pass over its pictures, before any GPU time is spent.

`check` decodes each image and mask once, in threads (the decoders and NumPy release the interpreter lock). Samples with
an error are left out of `CheckReport.samples`. One fault is cured here: two groups that hold the same picture are
joined, so that no split can put one copy in train and the other in test.
"""

import hashlib
import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from tune_sa2va.data.across import MOSTLY_VESSEL_FROM, Measured, faults_across
from tune_sa2va.data.dataset import Dataset, Fault, Problem, Severity
from tune_sa2va.data.images import NotTwoValuedError, UnknownLabelError, load_picture
from tune_sa2va.data.looks import faults_of, look_at
from tune_sa2va.data.outlines import nested
from tune_sa2va.data.sample import Label, Polygons, Sample
from tune_sa2va.data.truth import SizeMismatchError, read_truth
from tune_sa2va.data.unions import Unions
from tune_sa2va.errors import DataError

OUTSIDE_TOLERANCE_PX = 1.0
"""How far a polygon's point may lie outside the image: annotation tools round their coordinates."""

_MAX_THREADS = 8  # each holds a picture of up to MAX_PIXELS and its masks in memory


@dataclass(frozen=True, kw_only=True, slots=True)
class CheckReport:
    """What `check` found.

    root: the data set's folder.
    listed: all samples, as the data set lists them.
    samples: the usable ones, with groups joined, in order of name and text.
    sizes_px: (height, width) of the upright image, one for each of `samples`.
    foreground: share of the image that its mask covers, in [0, 1], one for each of `samples`; 0 for an absent target.
    problems: found by the readers and by this pass; errors first.
    """

    root: Path
    listed: tuple[Sample, ...]
    samples: tuple[Sample, ...]
    sizes_px: tuple[tuple[int, int], ...]
    foreground: tuple[float, ...]
    problems: tuple[Problem, ...]

    @property
    def errors(self) -> tuple[Problem, ...]:
        return tuple(problem for problem in self.problems if problem.severity is Severity.ERROR)

    @property
    def warnings(self) -> tuple[Problem, ...]:
        return tuple(problem for problem in self.problems if problem.severity is Severity.WARNING)

    @property
    def num_images(self) -> int:
        """Images among `samples`; one with several texts counts once."""
        return len({sample.name for sample in self.samples})

    @property
    def num_groups(self) -> int:
        return len({sample.group for sample in self.samples})


def check(dataset: Dataset) -> CheckReport:
    """All problems of `dataset`, and the samples that are usable. Never raises for a fault of the data."""
    samples_of_image: dict[Path, list[Sample]] = defaultdict(list)
    for sample in dataset.samples:
        samples_of_image[sample.image].append(sample)
    examine = partial(_examine_image, keeps_absent=dataset.keeps_absent)
    with ThreadPoolExecutor(max_workers=min(_MAX_THREADS, os.cpu_count() or 1)) as threads:
        found = list(threads.map(examine, samples_of_image.values()))
    usable = sorted(
        (item for items, _ in found for item in items), key=lambda item: (item.sample.name, item.sample.text)
    )
    usable, joins = _join_groups(usable)
    across = faults_across(usable)
    of_images = _without_absent_labels(dataset, [problem for _, problems in found for problem in problems])
    problems = [*dataset.problems, *of_images, *joins, *across]
    if any(problem.fault is Fault.ALL_INVERTED for problem in across):  # says the same once for all masks
        problems = [problem for problem in problems if problem.fault is not Fault.MOSTLY_VESSEL]
    problems.sort(key=lambda problem: problem.severity is Severity.WARNING)  # stable: keeps the order of discovery
    return CheckReport(
        root=dataset.root,
        listed=dataset.samples,
        samples=tuple(item.sample for item in usable),
        sizes_px=tuple(item.size_px for item in usable),
        foreground=tuple(item.foreground for item in usable),
        problems=tuple(problems),
    )


def _without_absent_labels(dataset: Dataset, problems: Sequence[Problem]) -> list[Problem]:
    """The problems, with absent labels summed up in one per text: few label maps hold every label."""
    asked = Counter(sample.text for sample in dataset.samples)
    absent: dict[str, list[Problem]] = defaultdict(list)
    for problem in problems:
        if problem.fault is Fault.ABSENT:
            absent[problem.message].append(problem)
    said = [
        replace(
            found[0],
            message=f"No pixel shows '{text}' in {len(found)} of {asked[text]} images, which are left out for this "
            "text; --absent keep keeps them as absent targets.",
        )
        for text, found in absent.items()
    ]
    return [*(problem for problem in problems if problem.fault is not Fault.ABSENT), *said]


def _examine_image(samples: Sequence[Sample], *, keeps_absent: bool) -> tuple[list[Measured], list[Problem]]:
    """The usable samples of one image file, and its problems. samples: all of that file."""
    name = samples[0].name
    try:
        picture = load_picture(samples[0].image)
    except DataError as error:
        return [], [Problem(fault=Fault.UNREADABLE_IMAGE, file=name, message=str(error))]
    looks = look_at(picture.pixels)
    problems = [Problem(fault=fault, file=name, message=message) for fault, message in faults_of(looks)]
    if any(problem.severity is Severity.ERROR for problem in problems):
        return [], problems
    pixels = _hash_of_pixels(picture.pixels)
    height, width, _ = picture.pixels.shape
    usable = []
    for sample in samples:
        truth, faults = _examine_mask(sample, height, width, keeps_absent=keeps_absent)
        problems += faults
        if truth is not None:
            measured = Measured(
                sample=sample,
                size_px=(height, width),
                foreground=truth.covered_px / (height * width),
                picture=pixels,
                shown_as=truth.shown_as,
                scale_bits=picture.scale_bits,
                looks=looks,
            )
            usable.append(measured)
    return usable, problems


@dataclass(frozen=True, slots=True)
class _Truth:
    covered_px: int
    shown_as: str | None


def _examine_mask(
    sample: Sample, height: int, width: int, *, keeps_absent: bool
) -> tuple[_Truth | None, list[Problem]]:
    """What a mask covers (None if it cannot be used), and its problems."""

    def problem(fault: Fault, message: str) -> Problem:
        return Problem(fault=fault, file=sample.name, message=message)

    try:
        if isinstance(sample.mask, Polygons) and (found := list(_polygon_faults(sample.mask, height, width))):
            return None, [problem(fault, message) for fault, message in found]
        truth = read_truth(sample, height, width)
    except NotTwoValuedError as error:
        return None, [problem(Fault.NOT_TWO_VALUED, str(error))]
    except UnknownLabelError as error:
        return None, [problem(Fault.UNKNOWN_LABEL, str(error))]
    except SizeMismatchError as error:
        return None, [problem(Fault.SIZE_MISMATCH, str(error))]
    except DataError as error:
        return None, [problem(Fault.UNREADABLE_MASK, str(error))]
    covered_px = int(np.count_nonzero(truth.mask))
    share = covered_px / (height * width)
    if not covered_px and not keeps_absent:
        if isinstance(sample.mask, Label):
            return None, [problem(Fault.ABSENT, sample.text)]  # `_without_absent_labels` sums these up
        message = f"No pixel shows '{sample.text}'. The image is left out; --absent keep keeps it."
        return None, [problem(Fault.EMPTY_MASK, message)]
    if share > MOSTLY_VESSEL_FROM:
        message = f"'{sample.text}' covers {share:.0%} of the image. It is used as it is; is the mask inverted?"
        return _Truth(covered_px, truth.shown_as), [problem(Fault.MOSTLY_VESSEL, message)]
    return _Truth(covered_px, truth.shown_as), []


def _polygon_faults(polygons: Polygons, height: int, width: int) -> Iterable[tuple[Fault, str]]:
    if polygons.size_px not in (None, (height, width)):
        return  # `read_truth` raises this, and it explains any point outside
    short, outside = [], []
    for number, outline in enumerate(polygons.outlines, start=1):
        points = np.asarray(outline, dtype=np.float64).reshape(-1, 2)
        if len(np.unique(points, axis=0)) < 3:
            short.append(str(number))
        elif (points < -OUTSIDE_TOLERANCE_PX).any() or (points > np.add((width, height), OUTSIDE_TOLERANCE_PX)).any():
            outside.append(str(number))
    if short:
        yield (
            Fault.SHORT_POLYGON,
            f"Polygons {', '.join(short)}: three different points are needed. Remove or redraw them.",
        )
    if outside:
        message = f"Polygons {', '.join(outside)} leave the image of {width} x {height} pixels. Was it scaled since?"
        yield Fault.POLYGON_OUTSIDE, message
    if not short and not outside and polygons.rule is None:
        inner = nested(polygons.outlines, height, width)
        if inner:
            message = (
                f"{len(inner)} of {len(polygons.outlines)} outlines lie inside others (number {inner[0] + 1} first): "
                "holes, as contour finders write them, or drawn twice? Say which: --outlines even-odd cuts holes, "
                "--outlines union fills them."
            )
            yield Fault.NESTED_OUTLINES, message


def _hash_of_pixels(image_HW3: UInt8[np.ndarray, "H W 3"]) -> str:
    return hashlib.sha256(repr(image_HW3.shape).encode() + np.ascontiguousarray(image_HW3).tobytes()).hexdigest()


def _join_groups(usable: Sequence[Measured]) -> tuple[list[Measured], list[Problem]]:
    """The samples, with groups that hold the same picture joined, and a warning for each picture that joined groups."""
    of_picture: dict[str, list[Sample]] = defaultdict(list)
    for item in usable:
        of_picture[item.picture].append(item.sample)
    joined = Unions()
    for samples in of_picture.values():
        for sample in samples:
            joined.join(samples[0].group, sample.group)
    problems = []
    for samples in of_picture.values():
        groups = sorted({sample.group for sample in samples})
        if len(groups) > 1:
            others = ", ".join(sorted({sample.name for sample in samples} - {samples[0].name})) or "itself"
            message = (
                f"The same picture as {others}; groups {', '.join(groups)} are joined to {joined.root(groups[0])}."
            )
            problems.append(Problem(fault=Fault.SAME_PICTURE, file=samples[0].name, message=message))
    named = [replace(item, sample=replace(item.sample, group=joined.root(item.sample.group))) for item in usable]
    return named, problems
