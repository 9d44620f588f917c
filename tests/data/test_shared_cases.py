"""Small inputs that once failed for users, each with its right answer. They are beside the repository, not in it.

Other inputs of each kind are made in the tests of the module that reads them.
"""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tune_sa2va.data import CheckReport, Fault, check, load_image, load_truth, open_dataset
from tune_sa2va.data.rules import Rules
from tune_sa2va.predict.pictures import find_pictures

CASES = Path(__file__).parents[3] / "shared" / "cases"

pytestmark = pytest.mark.skipif(not CASES.is_dir(), reason=f"the cases are not at {CASES}")


def report_on(name: str, rules: Rules | None = None) -> CheckReport:
    return check(open_dataset(CASES / name, rules=rules or Rules()))


def faults(report: CheckReport) -> dict[Fault, int]:
    """The faults without NUMBERED_GROUPS: each of these pictures is of another patient."""
    return dict(Counter(p.fault for p in report.problems if p.fault is not Fault.NUMBERED_GROUPS))


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("black-by-alpha", {Fault.UNREADABLE_IMAGE: 1}),
        ("classes-by-value", {Fault.CLASSES_MIXED: 1}),
        ("faint-16-bit", {Fault.FAINT_PICTURE: 1}),
        ("frame-in-capitals", {}),
        ("group-spelling", {Fault.GROUPS_ALIKE: 1}),
        ("holes", {Fault.NESTED_OUTLINES: 4}),
        ("nan-text", {Fault.COUNTED_EMPTY: 2}),
        ("planar-16-bit-tiff", {}),
        ("polygon-scale", {Fault.SIZE_MISMATCH: 3}),
        ("series-scaled-apart", {Fault.SCALED_APART: 1}),
        ("skipped-formats", {Fault.UNREAD_PICTURE: 6, Fault.EXTRA_MASK: 6}),
        ("misleading-sentences/backslash", {}),
        ("misleading-sentences/jfif", {}),
        ("misleading-sentences/keys", {Fault.BAD_ENTRY: 3, Fault.UNREAD_KEY: 1}),
        ("misleading-sentences/nfd", {}),
        ("misleading-sentences/ppm", {}),
        ("misleading-sentences/trailing", {}),
        ("misleading-sentences/twice", {Fault.BAD_ENTRY: 3}),
    ],
)
def test_what_is_told(name: str, told: dict[Fault, int]) -> None:
    assert faults(report_on(name)) == told


def test_alpha_is_named_by_check_and_refused_by_predict() -> None:
    assert "alpha channel" in report_on("black-by-alpha").problems[0].message
    [fault] = find_pictures([CASES / "black-by-alpha" / "images"]).faults
    assert "alpha channel" in fault


def test_planes_of_16_bits_are_the_expected_pictures() -> None:
    folder = CASES / "planar-16-bit-tiff"
    for name in ("c0", "c1", "c2"):
        expected = np.asarray(Image.open(folder / "expected" / f"{name}.png").convert("RGB"))
        assert np.array_equal(load_image(folder / "images" / f"{name}.tif"), expected)


def test_holes_are_holes_where_it_is_said() -> None:
    report = report_on("holes", Rules(outlines="even-odd"))
    assert faults(report) == {}
    for sample in report.samples:
        truth = np.asarray(Image.open(CASES / "holes" / "masks_true" / Path(sample.name).name)) > 0
        found = load_truth(sample, *truth.shape)
        assert 2 * (found & truth).sum() / (found.sum() + truth.sum()) > 0.95
    assert all(0.12 < share < 0.19 for share in report.foreground)


def test_frames_of_one_patient_are_one_group_whatever_the_capitals() -> None:
    assert report_on("frame-in-capitals").num_groups == 1


def test_cells_that_say_nothing_give_neither_text_nor_group() -> None:
    samples = report_on("nan-text").samples
    assert {sample.text for sample in samples} == {"blood vessel"}
    assert len({sample.group for sample in samples}) == 4
