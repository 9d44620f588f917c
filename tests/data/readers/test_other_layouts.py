"""Data sets in the layouts of other tools and public sets: LabelMe, nnU-Net, DRIVE, STARE and CHASE_DB1."""

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from PIL import Image

from tests.data.making import SHAPE, faults, picture, rectangle_mask, rectangle_outline, save, write_json
from tune_sa2va.data import Fault, check, load_truth, open_dataset, split_by_group
from tune_sa2va.data.rules import Rules
from tune_sa2va.errors import DataError

ARTERY, VEIN = (2, 3, 10, 5), (12, 3, 20, 9)
TRUTH = rectangle_mask(ARTERY)


def pairs(rectangle: tuple[int, int, int, int]) -> list[list[int]]:
    flat = rectangle_outline(rectangle)
    return [list(point) for point in zip(flat[::2], flat[1::2], strict=True)]


class TestLabelMe:
    @staticmethod
    def write(folder: Path, stem: str, shapes: Any, **changed: Any) -> None:
        about = {"version": "5.0", "shapes": shapes, "imagePath": f"{stem}.png", "imageHeight": 24, "imageWidth": 32}
        write_json(folder / f"{stem}.json", about | changed)

    @pytest.fixture(params=[".", "images"])
    def folder(self, request: pytest.FixtureRequest, tmp_path: Path) -> Path:
        for seed, name in enumerate("ab"):
            save(tmp_path / request.param / f"{name}.png", picture(seed))
        return tmp_path / request.param

    def test_labels_are_texts(self, folder: Path, tmp_path: Path) -> None:
        shapes = [
            {"label": "artery", "points": pairs(ARTERY), "shape_type": "polygon"},
            {"label": "vein", "points": [[12, 3], [20, 9]], "shape_type": "rectangle"},
        ]
        self.write(folder, "a", shapes)
        self.write(folder, "b", shapes[:1], imagePath="..\\elsewhere\\b.png")
        dataset = open_dataset(tmp_path)
        assert dataset.problems == ()
        found = {(Path(s.name).stem, s.text): load_truth(s, *SHAPE) for s in dataset.samples}
        assert set(found) == {("a", "artery"), ("a", "vein"), ("b", "artery")}
        assert np.array_equal(found["a", "artery"], TRUTH)
        assert np.array_equal(found["a", "vein"], rectangle_mask(VEIN))
        kept = check(open_dataset(tmp_path, rules=Rules(absent="keep")))
        assert (len(kept.samples), kept.foreground.count(0.0)) == (4, 1)

    def test_pictures_without_shapes_or_json_are_told(self, folder: Path, tmp_path: Path) -> None:
        self.write(folder, "a", [])
        dataset = open_dataset(tmp_path)
        assert [problem.fault for problem in dataset.problems] == [Fault.NOT_ANNOTATED] * 2

    @pytest.mark.parametrize(
        ("shapes", "changed", "fault", "says"),
        [
            ([{"label": "x", "points": [[1, 2], [3, 4]], "shape_type": "circle"}], {}, Fault.BAD_ENTRY, "'circle'"),
            ([{"label": "x", "points": [[1, 2, 3]]}], {}, Fault.BAD_ENTRY, "pairs"),
            ([{"label": "x", "points": [["1", 2]]}], {}, Fault.BAD_ENTRY, "list of numbers"),
            ([{"label": "nan", "points": pairs(ARTERY)}], {}, Fault.BAD_ENTRY, "no label"),
            (["x"], {}, Fault.BAD_ENTRY, "no label"),
            ({}, {}, Fault.BAD_ENTRY, "no list of shapes"),
            ([{"label": "x", "points": pairs(ARTERY)}], {"imagePath": "../../../../x.png"}, None, ""),
        ],
    )
    def test_a_bad_json_is_a_problem(
        self, folder: Path, tmp_path: Path, shapes: Any, changed: dict[str, Any], fault: Fault | None, says: str
    ) -> None:
        self.write(folder, "a", [{"label": "x", "points": pairs(ARTERY)}])
        self.write(folder, "b", shapes, **changed)
        dataset = open_dataset(tmp_path)
        assert [problem.fault for problem in dataset.problems] == ([] if fault is None else [fault])
        assert says in "".join(problem.message for problem in dataset.problems)

    def test_a_picture_that_leads_out(self, tmp_path: Path) -> None:
        save(tmp_path / "out.png", picture(0))
        self.write(tmp_path, "gone", [{"label": "x", "points": pairs(ARTERY)}], imagePath="../out.png")
        (tmp_path / "set").mkdir()
        (tmp_path / "gone.json").rename(tmp_path / "set" / "gone.json")
        assert faults(open_dataset(tmp_path / "set")) == [(Fault.OUTSIDE, "gone.json")]
        assert len(open_dataset(tmp_path / "set", allow_outside=True).samples) == 1

    def test_the_size_that_it_was_drawn_on(self, folder: Path, tmp_path: Path) -> None:
        self.write(folder, "a", [{"label": "x", "points": pairs(ARTERY)}], imageHeight=48, imageWidth=64)
        assert Fault.SIZE_MISMATCH in {p.fault for p in check(open_dataset(tmp_path)).problems}


class TestNnUnet:
    ABOUT: ClassVar = {
        "channel_names": {"0": "angiogram"},
        "labels": {"background": 0, "artery": 1, "vein": 2},
        "numTraining": 2,
        "file_ending": ".png",
    }

    @pytest.fixture
    def root(self, tmp_path: Path) -> Path:
        for seed, case in enumerate(("va_001", "va_002")):
            save(tmp_path / "imagesTr" / f"{case}_0000.png", picture(seed))
            save(tmp_path / "labelsTr" / f"{case}.png", (TRUTH + 2 * rectangle_mask(VEIN)).astype(np.uint8))
        write_json(tmp_path / "dataset.json", self.ABOUT)
        return tmp_path

    def test_cases(self, root: Path) -> None:
        report = check(open_dataset(root))
        assert [(s.name, s.text, s.group) for s in report.samples] == [
            (f"imagesTr/{case}_0000.png", text, case) for case in ("va_001", "va_002") for text in ("artery", "vein")
        ]
        assert np.array_equal(load_truth(report.samples[0], *SHAPE), TRUTH)
        assert [problem.fault for problem in report.problems] == [Fault.NUMBERED_GROUPS]

    def test_missing_and_extra_label_maps(self, root: Path) -> None:
        (root / "labelsTr" / "va_002.png").rename(root / "labelsTr" / "va_003.png")
        assert faults(open_dataset(root)) == [
            (Fault.MISSING_MASK, "imagesTr/va_002_0000.png"),
            (Fault.EXTRA_MASK, "labelsTr/va_003.png"),
        ]

    def test_several_channels(self, root: Path) -> None:
        save(root / "imagesTr" / "va_001_0001.png", picture(9))
        with pytest.raises(DataError, match="must have one file, and some have several"):
            open_dataset(root)

    @pytest.mark.parametrize(
        ("about", "says"),
        [
            ({"file_ending": ".nii.gz"}, "volumes"),
            ({"labels": []}, "'labels'"),
            ({"labels": {"background": 0, "a": 1, "ignore": 3}}, "ignore"),
        ],
    )
    def test_what_is_not_read(self, root: Path, about: dict[str, Any], says: str) -> None:
        write_json(root / "dataset.json", self.ABOUT | about)
        with pytest.raises(DataError, match=says):
            open_dataset(root)


def drive(root: Path) -> None:
    for part, numbers in {"training": range(21, 27), "test": range(1, 4)}.items():
        for number in numbers:
            save(root / part / "images" / f"{number:02}_{part}.tif", np.stack([picture(number)] * 3, axis=2))
            save(root / part / "mask" / f"{number:02}_{part}_mask.gif", np.ones(SHAPE, bool).astype(np.uint8) * 255)
            save(root / part / "1st_manual" / f"{number:02}_manual1.gif", TRUTH.astype(np.uint8) * 255)
            save(root / part / "2nd_manual" / f"{number:02}_manual2.gif", TRUTH.astype(np.uint8) * 255)


def stare(root: Path) -> None:
    for number in range(1, 6):
        save(root / "stare-images" / f"im{number:04}.ppm", np.stack([picture(number)] * 3, axis=2))
        for observer in ("ah", "vk"):
            save(root / f"labels-{observer}" / f"im{number:04}.{observer}.ppm", TRUTH.astype(np.uint8) * 255)


def stare_packed(root: Path) -> None:
    """STARE as in its archives."""
    stare(root)
    for path in sorted(root.rglob("*.ppm")):
        path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes()))
        path.unlink()


def stare_side_by_side(root: Path) -> None:
    for number in range(1, 6):
        save(root / f"im{number:04}.ppm", np.stack([picture(number)] * 3, axis=2))
        for observer in ("ah", "vk"):
            save(root / f"im{number:04}.{observer}.ppm", TRUTH.astype(np.uint8) * 255)


def chase(root: Path) -> None:
    for child in range(1, 5):
        for eye in "LR":
            save(root / f"Image_{child:02}{eye}.jpg", picture(10 * child + (eye == "L")))
            for observer in ("1stHO", "2ndHO"):
                save(root / f"Image_{child:02}{eye}_{observer}.png", TRUTH)


class TestRetinal:
    @pytest.mark.parametrize(
        ("make", "num_images", "groups"),
        [
            (drive, 9, {"01", "02", "03", "21", "22", "23", "24", "25", "26"}),
            (stare, 5, {f"stare-images/im{number:04}.ppm" for number in range(1, 6)}),
            (stare_packed, 5, {f"stare-images/im{number:04}.ppm.gz" for number in range(1, 6)}),
            (stare_side_by_side, 5, {f"im{number:04}.ppm" for number in range(1, 6)}),
            (chase, 8, {"01", "02", "03", "04"}),
        ],
    )
    def test_as_distributed(
        self, tmp_path: Path, make: Callable[[Path], None], num_images: int, groups: set[str]
    ) -> None:
        make(tmp_path)
        report = check(open_dataset(tmp_path))
        assert report.errors == ()
        assert report.num_images == num_images
        assert {sample.group for sample in report.samples} == groups
        for sample in report.samples:
            assert np.array_equal(load_truth(sample, *SHAPE), TRUTH)

    def test_the_published_test_part_of_drive_is_kept(self, tmp_path: Path) -> None:
        drive(tmp_path)
        split = split_by_group(open_dataset(tmp_path).samples, seed=0)
        assert {s.group for s in split if s.split == "test"} == {"01", "02", "03"}

    def test_drive_without_the_truth_of_its_test_images(self, tmp_path: Path) -> None:
        drive(tmp_path)
        for path in (tmp_path / "test" / "1st_manual").iterdir():
            path.unlink()
        (tmp_path / "test" / "1st_manual").rmdir()
        dataset = open_dataset(tmp_path)
        assert len(dataset.samples) == 6
        assert [problem.fault for problem in dataset.problems] == [Fault.NOT_ANNOTATED] * 3
        assert len(open_dataset(tmp_path / "training").samples) == 6


def test_a_gif_that_is_two_valued_by_its_palette(tmp_path: Path) -> None:
    save(tmp_path / "images" / "a.png", picture(0))
    image = Image.fromarray(TRUTH.astype(np.uint8)).convert("P")
    image.putpalette([0, 0, 0, 255, 255, 255])
    (tmp_path / "masks").mkdir()
    image.save(tmp_path / "masks" / "a.gif")
    assert np.array_equal(load_truth(open_dataset(tmp_path).samples[0], *SHAPE), TRUTH)
