"""Each fault of a data set is found, reported with its file, and handled."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tune_sa2va.data import CheckReport, Fault, Severity, check, open_dataset

from .making import (
    FORMS,
    GROUPS,
    RECTANGLES,
    SHAPE,
    picture,
    png_header_of,
    rectangle_mask,
    rectangle_outline,
    save,
    save_images,
    save_pair,
    write_csv,
    write_json,
)


def faults(report: CheckReport) -> list[tuple[Fault, str]]:
    return [(problem.fault, problem.file) for problem in report.problems]


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def annotate(root: Path, name: str, outline: list[float]) -> None:
    """`annotations.json` with one sound image and one that has `outline`."""
    save(root / "images" / "a.png", picture(0))
    save(root / "images" / name, picture(1))
    sound = rectangle_outline((2, 3, 10, 5))
    entries = [
        {"image": "a.png", "mask": [sound], "text": ["blood vessel"]},
        {"image": name, "mask": [sound, outline], "text": ["blood vessel"]},
    ]
    write_json(root / "annotations.json", entries)


def missing_mask(root: Path) -> None:
    save(root / "images" / "b.png", picture(1))


def extra_mask(root: Path) -> None:
    save(root / "masks" / "b.png", rectangle_mask((0, 0, 2, 2)))


def truncated_image(root: Path) -> None:
    save_pair(root, "b.png", 1)
    truncate(root / "images" / "b.png")


def text_for_image(root: Path) -> None:
    save_pair(root, "b.png", 1)
    (root / "images" / "b.png").write_text("not an image")


def huge_image(root: Path) -> None:
    save_pair(root, "b.png", 1)
    (root / "images" / "b.png").write_bytes(png_header_of(60_000, 60_000))


def truncated_mask(root: Path) -> None:
    save_pair(root, "b.png", 1)
    truncate(root / "masks" / "b.png")


def sizes_differ(root: Path) -> None:
    save_pair(root, "b.png", 1, rectangle_mask((0, 0, 2, 2), (SHAPE[1], SHAPE[0])))


def three_values(root: Path) -> None:
    save_pair(root, "b.png", 1, np.resize(np.array([0, 128, 255], np.uint8), SHAPE))


def empty_mask(root: Path) -> None:
    save_pair(root, "b.png", 1, np.zeros(SHAPE, dtype=bool))


def outside(root: Path) -> None:
    annotate(root, "b.png", [0, 0, 34, 0, 34, 5])


def two_points(root: Path) -> None:
    annotate(root, "b.png", [0, 0, 5, 5])


def no_points(root: Path) -> None:
    annotate(root, "b.png", [])


def three_equal_points(root: Path) -> None:
    annotate(root, "b.png", [0, 0, 5, 5, 0, 0])


def no_entry(root: Path) -> None:
    annotate(root, "c.png", [0, 0, 5, 5, 0, 5])
    save(root / "images" / "b.png", picture(2))


Make = Callable[[Path], None]


@pytest.mark.parametrize(
    ("make", "fault", "file"),
    [
        (missing_mask, Fault.MISSING_MASK, "images/b.png"),
        (extra_mask, Fault.EXTRA_MASK, "masks/b.png"),
        (truncated_image, Fault.UNREADABLE_IMAGE, "images/b.png"),
        (text_for_image, Fault.UNREADABLE_IMAGE, "images/b.png"),
        (huge_image, Fault.UNREADABLE_IMAGE, "images/b.png"),
        (truncated_mask, Fault.UNREADABLE_MASK, "images/b.png"),
        (sizes_differ, Fault.SIZE_MISMATCH, "images/b.png"),
        (three_values, Fault.NOT_TWO_VALUED, "images/b.png"),
        (empty_mask, Fault.EMPTY_MASK, "images/b.png"),
        (outside, Fault.POLYGON_OUTSIDE, "images/b.png"),
        (two_points, Fault.SHORT_POLYGON, "images/b.png"),
        (no_points, Fault.SHORT_POLYGON, "images/b.png"),
        (three_equal_points, Fault.SHORT_POLYGON, "images/b.png"),
        (no_entry, Fault.NOT_ANNOTATED, "images/b.png"),
    ],
)
def test_a_fault_is_told_and_its_image_left_out(tmp_path: Path, make: Make, fault: Fault, file: str) -> None:
    save_pair(tmp_path, "a.png", 0)
    make(tmp_path)
    report = check(open_dataset(tmp_path))
    assert faults(report) == [(fault, file)]
    assert "images/a.png" in {sample.name for sample in report.samples}
    assert "images/b.png" not in {sample.name for sample in report.samples}
    warns = fault in {Fault.EMPTY_MASK, Fault.NOT_ANNOTATED}
    assert report.problems[0].severity is (Severity.WARNING if warns else Severity.ERROR)
    assert (len(report.errors), len(report.warnings)) == ((0, 1) if warns else (1, 0))


def test_all_at_once_errors_first(tmp_path: Path) -> None:
    empty_mask(tmp_path)
    for name in ("a.png", "c.png", "d.png"):
        save_pair(tmp_path, name, ord(name[0]))
    save(tmp_path / "masks" / "a.png", np.resize(np.array([0, 128, 255], np.uint8), SHAPE))
    truncate(tmp_path / "images" / "c.png")
    save(tmp_path / "masks" / "e.png", rectangle_mask((0, 0, 2, 2)))
    report = check(open_dataset(tmp_path))
    assert faults(report) == [
        (Fault.EXTRA_MASK, "masks/e.png"),
        (Fault.NOT_TWO_VALUED, "images/a.png"),
        (Fault.UNREADABLE_IMAGE, "images/c.png"),
        (Fault.EMPTY_MASK, "images/b.png"),
    ]
    assert [sample.name for sample in report.samples] == ["images/d.png"]


@pytest.mark.parametrize("form", FORMS)
def test_a_sound_data_set(tmp_path: Path, form: str) -> None:
    save_images(tmp_path)
    report = check(open_dataset(FORMS[form](tmp_path)))
    assert report.problems == ()
    assert (report.num_images, report.num_groups) == (len(RECTANGLES), len(set(GROUPS.values())))
    assert set(report.sizes_px) == {SHAPE}
    areas = {name: (right - left) * (bottom - top) for name, (left, top, right, bottom) in RECTANGLES.items()}
    wanted = [areas[sample.name.removeprefix("images/")] / (SHAPE[0] * SHAPE[1]) for sample in report.samples]
    assert report.foreground == pytest.approx(wanted)


def test_a_point_on_the_far_edge_is_inside(tmp_path: Path) -> None:
    annotate(tmp_path, "b.png", [SHAPE[1] - 4, 0, SHAPE[1], 0, SHAPE[1] + 0.4, SHAPE[0]])
    assert check(open_dataset(tmp_path)).problems == ()


def test_sizes_belong_to_their_samples(tmp_path: Path) -> None:
    for name, shape in {"a.png": (20, 30), "b.png": (24, 32), "c.png": (31, 7)}.items():
        save(tmp_path / "images" / name, picture(0, shape))
        save(tmp_path / "masks" / name, rectangle_mask((0, 0, 3, 3), shape))
    report = check(open_dataset(tmp_path))
    assert report.sizes_px == ((20, 30), (24, 32), (31, 7))


def test_an_inverted_mask_is_told_and_used(tmp_path: Path) -> None:
    save_pair(tmp_path, "a.png", 0, ~rectangle_mask((2, 3, 10, 5)))
    report = check(open_dataset(tmp_path))
    assert faults(report) == [(Fault.MOSTLY_VESSEL, "images/a.png")]
    assert report.errors == ()
    assert len(report.samples) == 1


class TestSamePicture:
    """Groups that hold the same picture become one."""

    @staticmethod
    def dataset(root: Path, seed_of: dict[str, int], group_of: dict[str, str]) -> CheckReport:
        for name, seed in seed_of.items():
            save_pair(root, name, seed)
        rows = [
            {"image": f"images/{name}", "mask": f"masks/{Path(name).stem}.png", "group": group}
            for name, group in group_of.items()
        ]
        write_csv(root / "manifest.csv", rows, ("image", "mask", "group"))
        return check(open_dataset(root))

    def test_two_groups_are_joined(self, tmp_path: Path) -> None:
        report = self.dataset(
            tmp_path, {"a.png": 0, "b.bmp": 0, "c.png": 1}, {"a.png": "z", "b.bmp": "y", "c.png": "z"}
        )
        assert faults(report) == [(Fault.SAME_PICTURE, "images/a.png")]
        assert report.errors == ()
        assert [sample.group for sample in report.samples] == ["y", "y", "y"]
        assert "images/b.bmp" in report.problems[0].message
        assert "groups y, z are joined to y" in report.problems[0].message

    def test_a_chain_of_groups_is_joined(self, tmp_path: Path) -> None:
        seeds = {"a.png": 0, "b.png": 1, "c.png": 0, "d.png": 2, "e.png": 1, "f.png": 2, "g.png": 3}
        groups = {"a.png": "4", "b.png": "4", "c.png": "3", "d.png": "3", "e.png": "2", "f.png": "1", "g.png": "0"}
        report = self.dataset(tmp_path, seeds, groups)
        assert [sample.group for sample in report.samples] == ["1"] * 6 + ["0"]
        assert len(report.warnings) == 3

    def test_within_a_group_it_is_no_problem(self, tmp_path: Path) -> None:
        report = self.dataset(tmp_path, {"a.png": 0, "b.png": 0}, {"a.png": "x", "b.png": "x"})
        assert report.problems == ()

    def test_the_turned_size_is_another_picture(self, tmp_path: Path) -> None:
        for name, shape in {"a.png": (8, 16), "b.png": (16, 8)}.items():
            save(tmp_path / "images" / name, np.arange(128, dtype=np.uint8).reshape(shape))
            save(tmp_path / "masks" / name, rectangle_mask((0, 0, 3, 3), shape))
        assert check(open_dataset(tmp_path)).problems == ()


def test_one_bad_text_leaves_the_other_of_the_image(tmp_path: Path) -> None:
    save(tmp_path / "images" / "a.png", picture(0))
    sound = rectangle_outline((2, 3, 10, 5))
    write_json(
        tmp_path / "annotations.json",
        [{"image": "a.png", "mask": [[sound], [[0, 0, 1, 1]]], "text": ["vein", "artery"]}],
    )
    report = check(open_dataset(tmp_path))
    assert faults(report) == [(Fault.SHORT_POLYGON, "images/a.png")]
    assert [sample.text for sample in report.samples] == ["vein"]
