"""Faults that only a comparison of samples shows."""

import unicodedata
from pathlib import Path

import numpy as np
import pytest
import tifffile

from tune_sa2va.data import CheckReport, Fault, check, open_dataset

from .making import rectangle_mask, save, save_pair, smooth_picture, write_csv

RED, BLUE = (255, 0, 0), (0, 0, 255)
SIDE = 96
MASK = rectangle_mask((5, 5, 30, 20), (SIDE, SIDE))


def pair(root: Path, name: str, seed: int, mask: np.ndarray = MASK) -> None:
    save(root / "images" / name, smooth_picture(seed))
    save(root / "masks" / f"{Path(name).stem}.png", mask)


def report_on(root: Path) -> CheckReport:
    return check(open_dataset(root))


def faults(report: CheckReport) -> list[Fault]:
    return [problem.fault for problem in report.problems]


class TestClasses:
    @pytest.mark.parametrize(
        ("values", "fault"),
        [
            ((1, 1, 1), None),
            ((1, 255, 1), Fault.VALUES_DIFFER),
            ((1, 2, 1), Fault.CLASSES_MIXED),
            ((255, 128, 255), Fault.CLASSES_MIXED),
        ],
    )
    def test_second_values(self, tmp_path: Path, values: tuple[int, ...], fault: Fault | None) -> None:
        for name, value in zip("abc", values, strict=True):
            pair(tmp_path, f"{name}.png", ord(name), MASK.astype(np.uint8) * value)
        report = report_on(tmp_path)
        assert faults(report) == ([] if fault is None else [fault])
        assert bool(report.errors) == (fault is Fault.CLASSES_MIXED)
        if fault:
            assert f"{values[1]} in 1 (images/b.png)" in report.problems[0].message

    def test_colours(self, tmp_path: Path) -> None:
        for name, colour in {"a": RED, "b": BLUE, "c": RED}.items():
            pair(tmp_path, f"{name}.png", ord(name), (MASK[..., None] * np.array(colour)).astype(np.uint8))
        [problem] = report_on(tmp_path).problems
        assert problem.fault is Fault.CLASSES_MIXED
        assert "#0000ff in 1 (images/b.png), #ff0000 in 2 (images/a.png)" in problem.message

    def test_a_text_of_its_own_for_each_is_right(self, tmp_path: Path) -> None:
        for number, name in enumerate("abcd"):
            pair(tmp_path, f"{name}.png", number, MASK.astype(np.uint8) * (1 + number % 2))
        rows = [
            {"image": f"images/{name}.png", "mask": f"masks/{name}.png", "text": "vein" if number % 2 else "artery"}
            for number, name in enumerate("abcd")
        ]
        write_csv(tmp_path / "manifest.csv", rows, ("image", "mask", "text"))
        assert report_on(tmp_path).problems == ()


class TestInverted:
    def test_all_is_one_error(self, tmp_path: Path) -> None:
        for number, name in enumerate("abc"):
            pair(tmp_path, f"{name}.png", number, ~MASK)
        [problem] = report_on(tmp_path).problems
        assert problem.fault is Fault.ALL_INVERTED
        assert problem.message.startswith("All 3 masks cover 96% to 96%")

    def test_one_of_three_is_a_warning_of_its_own(self, tmp_path: Path) -> None:
        for number, name in enumerate("abc"):
            pair(tmp_path, f"{name}.png", number, MASK if number else ~MASK)
        assert faults(report_on(tmp_path)) == [Fault.MOSTLY_VESSEL]


class TestSeries:
    @staticmethod
    def frames(root: Path, peaks: list[int]) -> None:
        for number, peak in enumerate(peaks):
            values = smooth_picture(0).astype(np.uint16) * 3
            values[0, 0] = peak
            (root / "images").mkdir(exist_ok=True)
            tifffile.imwrite(root / "images" / f"s_frame_{number}.tif", values)
            save(root / "masks" / f"s_frame_{number}.png", MASK)

    def test_a_bright_spot_makes_a_frame_four_times_darker(self, tmp_path: Path) -> None:
        self.frames(tmp_path, [900, 3900, 900])
        [problem] = report_on(tmp_path).problems
        assert (problem.fault, problem.file) == (Fault.SCALED_APART, "images/s_frame_1.tif")
        assert "10 bits in 2 and 12 bits in 1" in problem.message
        assert "up to 4 times" in problem.message

    def test_one_scale_is_right(self, tmp_path: Path) -> None:
        self.frames(tmp_path, [900, 1000, 800])
        assert report_on(tmp_path).problems == ()


class TestGroups:
    @staticmethod
    def listed(root: Path, groups: list[str]) -> CheckReport:
        names = [f"{'abcdefgh'[number] * 2}.png" for number in range(len(groups))]
        for number, name in enumerate(names):
            pair(root, name, number)
        rows = [
            {"image": f"images/{name}", "mask": f"masks/{name}", "group": group}
            for name, group in zip(names, groups, strict=True)
        ]
        write_csv(root / "manifest.csv", rows, ("image", "mask", "group"))
        return report_on(root)

    @pytest.mark.parametrize(
        "second", ["p01", "P 01", "p\u00a001", unicodedata.normalize("NFD", "Pä01").replace("ä", "a")[:1] + "01"]
    )
    def test_spelt_alike(self, tmp_path: Path, second: str) -> None:
        report = self.listed(tmp_path, ["P01", second, "P02"])
        assert faults(report) == ([Fault.GROUPS_ALIKE] if second != "P01" else [])
        assert {sample.group for sample in report.samples} == {"P01", second, "P02"}

    def test_composed_and_decomposed_letters(self, tmp_path: Path) -> None:
        report = self.listed(tmp_path, ["Gefäß", unicodedata.normalize("NFD", "Gefäß"), "x"])
        assert faults(report) == [Fault.GROUPS_ALIKE]

    def test_numbered_groups_that_the_list_gives_are_right(self, tmp_path: Path) -> None:
        assert self.listed(tmp_path, ["c01", "c02", "c03"]).problems == ()

    def test_views_of_a_patient(self, tmp_path: Path) -> None:
        for patient, view, frame in ((1, 2, 1), (1, 3, 1), (1, 3, 2), (2, 1, 1)):
            pair(tmp_path, f"Name({patient:010})_1-{view}_1_AB_frame_{frame:06}.jpg", 100 * patient + 10 * view + frame)
        [problem] = report_on(tmp_path).problems
        assert problem.fault is Fault.ONE_PATIENT
        assert problem.message.startswith("1 of 2 patients")
        assert "--group-by '^(.+?\\(\\d+\\))'" in problem.message

    @pytest.mark.parametrize(
        ("names", "told"),
        [
            (["p1_x_0.png", "p1_x_1.png", "q.png"], [Fault.NUMBERED_GROUPS]),
            (["p1_frame_0.png", "p2_frame_0.png", "q.png"], [Fault.NUMBERED_GROUPS]),
            (["01_dr.png", "02_dr.png", "03_g.png"], []),
            (["1.png", "2.png", "3.png"], []),  # nothing is left of the name that they could share
            (["P_Frame_0.png", "P_frame_1.png", "P_FRAME_2.png"], []),  # one group, whatever the capitals
        ],
    )
    def test_names_that_differ_in_a_last_number(self, tmp_path: Path, names: list[str], told: list[Fault]) -> None:
        for seed, name in enumerate(names):
            pair(tmp_path, name, seed)
        assert faults(report_on(tmp_path)) == told

    def test_near_duplicates_in_two_groups(self, tmp_path: Path) -> None:
        for number, name in enumerate(("a.png", "b.png", "c.png")):
            pair(tmp_path, name, number)
        again = np.clip(smooth_picture(1) * 0.8 + 9, 0, 255).astype(np.uint8)
        save(tmp_path / "images" / "z.jpg", again, quality=80)
        save(tmp_path / "masks" / "z.png", MASK)
        [problem] = report_on(tmp_path).problems
        assert (problem.fault, problem.file) == (Fault.ALIKE_PICTURES, "images/b.png")
        assert "images/z.jpg" in problem.message
        assert "2 groups" in problem.message

    def test_near_duplicates_in_one_group_are_frames(self, tmp_path: Path) -> None:
        for number in range(3):
            frame = np.clip(smooth_picture(0) * 0.9 + number, 0, 255).astype(np.uint8)
            save(tmp_path / "images" / f"v_frame_{number}.png", frame)
            save(tmp_path / "masks" / f"v_frame_{number}.png", MASK)
        save_pair(tmp_path, "other.png", 9)
        assert report_on(tmp_path).problems == ()
