"""What `write_folder` leaves on disk."""

import csv

import numpy as np
import pytest
from PIL import Image

from tune_sa2va.data.procedural import DEMO_FAMILY
from tune_sa2va.data.procedural.folder import FRAMES_PER_GROUP, write_folder
from tune_sa2va.errors import DataError


def files(root):
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_folder(tmp_path_factory.mktemp("demo") / "leg", DEMO_FAMILY, 7, 128, 3)


def test_manifest_names_every_image_and_mask(folder):
    with (folder / "manifest.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["image", "mask", "group"]
    assert [row["image"] for row in rows] == [f"images/{k:04d}.png" for k in range(7)]
    for row in rows:
        image, mask = Image.open(folder / row["image"]), Image.open(folder / row["mask"])
        assert image.mode == "RGB" and mask.mode == "L"
        assert image.size == mask.size == (128, 128)
        values = np.asarray(mask)
        assert set(np.unique(values)) == {0, 255}
        assert 0.003 < (values > 0).mean() < 0.3


def test_groups_hold_frames_of_one_tree(folder):
    with (folder / "manifest.csv").open(newline="") as file:
        groups = [row["group"] for row in csv.DictReader(file)]
    assert groups == [f"g{k // FRAMES_PER_GROUP:03d}" for k in range(7)]
    masks = [np.asarray(Image.open(folder / f"masks/{k:04d}.png")) > 0 for k in range(4)]
    images = [(folder / f"images/{k:04d}.png").read_bytes() for k in range(4)]
    assert len(set(images)) == 4

    def nearness(a, b):
        near = [np.roll(a, (dy, dx), (0, 1)) for dy in range(-5, 6) for dx in range(-5, 6)]
        return max((shifted & b).sum() / (shifted | b).sum() for shifted in near)

    assert nearness(masks[0], masks[1]) > nearness(masks[0], masks[2])


def test_equal_arguments_give_equal_files(folder, tmp_path):
    again = write_folder(tmp_path / "again", DEMO_FAMILY, 7, 128, 3)
    assert files(again) == files(folder)
    other = write_folder(tmp_path / "other", DEMO_FAMILY, 1, 128, 4)
    assert files(other)["images/0000.png"] != files(folder)["images/0000.png"]


def test_nothing_is_left_beside_the_folder(folder):
    assert [path.name for path in folder.parent.iterdir()] == ["leg"]


def test_a_failure_leaves_no_folder(tmp_path):
    with pytest.raises(ValueError, match="family"):
        write_folder(tmp_path / "x", "no such family", 2, 64, 0)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_with_files_is_refused(tmp_path):
    (tmp_path / "mine.txt").write_text("keep")
    with pytest.raises(DataError, match="empty"):
        write_folder(tmp_path, DEMO_FAMILY, 2, 64, 0)
    assert (tmp_path / "mine.txt").read_text() == "keep"


def test_too_few_images_are_refused(tmp_path):
    with pytest.raises(DataError, match="count"):
        write_folder(tmp_path / "x", DEMO_FAMILY, 0, 64, 0)
