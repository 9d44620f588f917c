"""Pairs of images and masks in folders, and their faults."""

import unicodedata
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.data.making import (
    faults,
    picture,
    rectangle_mask,
    save,
    save_pair,
)
from tune_sa2va.data import Fault, check, load_truth, open_dataset
from tune_sa2va.errors import DataError


class TestFolder:
    def test_missing_and_extra_masks(self, tmp_path: Path) -> None:
        save_pair(tmp_path, "a.png", 0)
        save(tmp_path / "images" / "b.png", picture(1))
        save(tmp_path / "masks" / "c_mask.png", rectangle_mask((0, 0, 2, 2)))
        dataset = open_dataset(tmp_path)
        assert [sample.name for sample in dataset.samples] == ["images/a.png"]
        assert faults(dataset) == [(Fault.MISSING_MASK, "images/b.png"), (Fault.EXTRA_MASK, "masks/c_mask.png")]

    def test_two_masks_or_two_images_of_a_name(self, tmp_path: Path) -> None:
        for name in ("a.png", "b.png", "b.jpg"):
            save_pair(tmp_path, name, 0)
        save(tmp_path / "masks" / "a_mask.png", rectangle_mask((0, 0, 2, 2)))
        dataset = open_dataset(tmp_path)
        assert dataset.samples == ()
        assert faults(dataset) == [(Fault.LISTED_TWICE, "images/a.png"), (Fault.LISTED_TWICE, "images/b.jpg")]

    def test_an_image_called_mask_keeps_its_own(self, tmp_path: Path) -> None:
        save_pair(tmp_path, "a_mask.png", 0)
        save_pair(tmp_path, "a.png", 1)
        dataset = open_dataset(tmp_path)
        assert dataset.problems == ()
        assert [Path(str(sample.mask)).name for sample in dataset.samples] == ["a.png", "a_mask.png"]

    def test_folders_inside_images_are_told(self, tmp_path: Path) -> None:
        save_pair(tmp_path, "a.png", 0)
        save(tmp_path / "images" / "patient 2" / "b.png", picture(1))
        assert faults(open_dataset(tmp_path)) == [(Fault.BAD_ENTRY, "images/patient 2")]

    @pytest.mark.parametrize("ending", [".webp", ".HEIC", ".nii", ".png.gz"])
    def test_pictures_of_kinds_that_are_not_read_are_errors(self, tmp_path: Path, ending: str) -> None:
        save_pair(tmp_path, "a.png", 0)
        for folder in ("images", "masks"):
            (tmp_path / folder / f"b{ending}").write_bytes(b"x")
        dataset = open_dataset(tmp_path)
        assert faults(dataset) == [
            (Fault.UNREAD_PICTURE, f"images/b{ending}"),
            (Fault.UNREAD_PICTURE, f"masks/b{ending}"),
        ]
        assert ("Unpack it" if ending.endswith("gz") else "Save it as PNG") in dataset.problems[0].message

    @pytest.mark.parametrize("name", ["a.jfif", "a.jpe", "a.gif", "a.ppm", "a.pgm"])
    def test_other_endings_of_kinds_that_are_read(self, tmp_path: Path, name: str) -> None:
        (tmp_path / "images").mkdir()
        kind = "JPEG" if name[2] == "j" else None
        Image.fromarray(picture(0)).save(tmp_path / "images" / name, format=kind)
        save(tmp_path / "masks" / "a.gif", rectangle_mask((2, 3, 10, 5)).astype("uint8"))
        report = check(open_dataset(tmp_path))
        assert report.problems == ()
        assert np.array_equal(load_truth(report.samples[0], 24, 32), rectangle_mask((2, 3, 10, 5)))

    @pytest.mark.parametrize("ending", ["_mask", ".ah", ".vk", "_manual1", "_1stHO"])
    def test_the_endings_that_retinal_sets_give_their_masks(self, tmp_path: Path, ending: str) -> None:
        save(tmp_path / "images" / "im0001.ppm", picture(0))
        save(tmp_path / "masks" / f"im0001{ending}.ppm", rectangle_mask((2, 3, 10, 5)).astype("uint8") * 255)
        dataset = open_dataset(tmp_path)
        assert (len(dataset.samples), dataset.problems) == (1, ())

    def test_names_that_look_the_same_are_one(self, tmp_path: Path) -> None:
        decomposed, composed = (unicodedata.normalize(form, "Gefäß_0.png") for form in ("NFD", "NFC"))
        save(tmp_path / "images" / decomposed, picture(0))
        save(tmp_path / "masks" / composed, rectangle_mask((2, 3, 10, 5)))
        dataset = open_dataset(tmp_path)
        assert (len(dataset.samples), dataset.problems) == (1, ())

    def test_no_masks(self, tmp_path: Path) -> None:
        save(tmp_path / "images" / "a.png", picture(0))
        with pytest.raises(DataError, match="masks/ is missing"):
            open_dataset(tmp_path)

    def test_the_first_frame_in_a_name_ends_the_group(self, tmp_path: Path) -> None:
        for name in ("P_frame_1_frame_2.png", "P_frame_3.png", "_frame_4.png"):
            save_pair(tmp_path, name, 0)
        groups = {sample.name: sample.group for sample in open_dataset(tmp_path).samples}
        assert groups == {
            "images/P_frame_1_frame_2.png": "P",
            "images/P_frame_3.png": "P",
            "images/_frame_4.png": "images/_frame_4.png",
        }

    def test_users_file_names(self, tmp_path: Path) -> None:
        stem = "Name(0000000001)_1-3_1_0A1B2C3D"
        for frame in (11, 12):
            save(tmp_path / "images" / f"{stem}_frame_{frame:06}.jpg", picture(frame))
            save(tmp_path / "masks" / f"{stem}_frame_{frame:06}_mask.png", rectangle_mask((0, 0, 2, 2)))
        assert [sample.group for sample in open_dataset(tmp_path).samples] == [stem, stem]
