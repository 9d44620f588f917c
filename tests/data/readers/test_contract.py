"""One contract for every reader: what it finds, and what it refuses because it lies outside the data set."""

import os
from pathlib import Path

import numpy as np
import pytest

from tests.data.making import (
    FORMS,
    GROUPS,
    RECTANGLES,
    SHAPE,
    faults,
    picture,
    rectangle_mask,
    rectangle_outline,
    save,
    save_images,
    save_masks,
    save_pair,
    write_csv,
    write_json,
    write_parquet,
)
from tune_sa2va.data import Dataset, Fault, load_image, load_truth, open_dataset
from tune_sa2va.errors import DataError

OUTLINE = rectangle_outline((2, 3, 10, 5))
NAMES = [f"images/{name}" for name in sorted(RECTANGLES)]


@pytest.mark.parametrize("form", FORMS)
class TestContract:
    """The same images, masks and groups in every format."""

    @pytest.fixture
    def dataset(self, tmp_path: Path, form: str) -> Dataset:
        root = tmp_path / "data set"
        save_images(root)
        return open_dataset(FORMS[form](root))

    def test_no_problems(self, dataset: Dataset) -> None:
        assert dataset.problems == ()

    def test_names_in_order(self, dataset: Dataset) -> None:
        assert [sample.name for sample in dataset.samples] == NAMES

    def test_images(self, dataset: Dataset) -> None:
        loaded = {sample.name: load_image(sample.image) for sample in dataset.samples}
        for seed, name in enumerate(RECTANGLES):
            assert (loaded[f"images/{name}"] == picture(seed)[..., None]).all()

    def test_masks(self, dataset: Dataset) -> None:
        loaded = {sample.name: load_truth(sample, *SHAPE) for sample in dataset.samples}
        for name, rectangle in RECTANGLES.items():
            assert np.array_equal(loaded[f"images/{name}"], rectangle_mask(rectangle))

    def test_groups(self, dataset: Dataset) -> None:
        assert {sample.name: sample.group for sample in dataset.samples} == {
            f"images/{name}": group for name, group in GROUPS.items()
        }

    def test_what_is_not_said(self, dataset: Dataset) -> None:
        assert {sample.split for sample in dataset.samples} == {None}
        assert {sample.text for sample in dataset.samples} == {"blood vessel"}

    def test_paths_hold_in_any_working_directory(
        self, tmp_path: Path, form: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        root = tmp_path / "data set"
        save_images(root)
        source = FORMS[form](root)
        monkeypatch.chdir(root)
        relative = open_dataset(Path(os.path.relpath(source)))
        assert relative == open_dataset(source)
        assert relative.root == root
        assert all(sample.image.is_absolute() for sample in relative.samples)

    def test_files_that_are_no_images_are_told_where_a_folder_is_read(self, tmp_path: Path, form: str) -> None:
        root = tmp_path / "data set"
        save_images(root)
        source = FORMS[form](root)
        before = open_dataset(source)
        for name in ("._alone.bmp", ".DS_Store", "notes.txt", "c.webp"):
            (root / "images" / name).write_bytes(b"\0")
        dataset = open_dataset(source)
        assert dataset.samples == before.samples
        told = [(Fault.UNREAD_PICTURE, "images/c.webp"), (Fault.UNREAD_FILE, "images/notes.txt")]
        assert faults(dataset) == ([] if "manifest" in form or "CSV" in form else told)


class TestSource:
    def test_precedence(self, tmp_path: Path) -> None:
        save_images(tmp_path)
        save_masks(tmp_path, ".png")
        alone = {"image": "images/alone.bmp", "mask": "masks/alone.png"}
        assert {sample.group for sample in open_dataset(tmp_path).samples} == set(GROUPS.values())
        write_json(tmp_path / "annotations.json", [{"image": "alone.bmp", "mask": [OUTLINE], "text": ["a"]}])
        assert [sample.text for sample in open_dataset(tmp_path).samples] == ["a"]
        write_parquet(tmp_path / "manifest.parquet", [{**alone, "text": "b"}])
        assert [sample.text for sample in open_dataset(tmp_path).samples] == ["b"]
        write_csv(tmp_path / "manifest.csv", [{**alone, "text": "c"}], ("image", "mask", "text"))
        assert [sample.text for sample in open_dataset(tmp_path).samples] == ["c"]
        assert [sample.text for sample in open_dataset(tmp_path / "annotations.json").samples] == ["a"]

    @pytest.mark.parametrize("name", ["", "images", "other.txt", "nowhere"])
    def test_no_data_set(self, tmp_path: Path, name: str) -> None:
        (tmp_path / "other.txt").write_text("")
        with pytest.raises(DataError):
            open_dataset(tmp_path / name)

    def test_empty_folders(self, tmp_path: Path) -> None:
        (tmp_path / "images").mkdir()
        (tmp_path / "masks").mkdir()
        with pytest.raises(DataError, match="holds no images"):
            open_dataset(tmp_path)

    def test_a_link_to_the_whole_folder_is_followed(self, tmp_path: Path) -> None:
        root = tmp_path / "real"
        save_images(root)
        FORMS["manifest.csv"](root)
        (tmp_path / "set").symlink_to(root)
        assert open_dataset(tmp_path / "set") == open_dataset(root)

    def test_what_is_neither_file_nor_folder(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "manifest.csv")  # would be waited for until somebody writes into it
        with pytest.raises(DataError, match="neither a file nor a folder"):
            open_dataset(tmp_path / "manifest.csv")

    @pytest.mark.parametrize("source", ["x" * 5000, "~nobody-of-this-name/x", "a\0b"])
    def test_a_path_that_no_file_system_holds(self, source: str) -> None:
        with pytest.raises(DataError, match="there is no such file"):
            open_dataset(source)


class TestOutside:
    """No file outside the data set's folder is accepted, unless the caller allows it."""

    @pytest.mark.parametrize("form", FORMS)
    @pytest.mark.parametrize("linked", ["one image", "images"])
    def test_through_a_link(self, tmp_path: Path, form: str, linked: str) -> None:
        root = tmp_path / "set"
        save_images(root)
        source = FORMS[form](root)
        inside, link = (root / NAMES[0], tmp_path / "a.png") if linked == "one image" else (root / "images", tmp_path)
        target = inside.rename(link / "elsewhere" if link.is_dir() else link)
        inside.symlink_to(target)
        outside = [NAMES[0]] if linked == "one image" else NAMES
        dataset = open_dataset(source)
        assert [sample.name for sample in dataset.samples] == [name for name in NAMES if name not in outside]
        assert [fault for fault, _ in faults(dataset) if fault is Fault.OUTSIDE] == [Fault.OUTSIDE] * len(outside)
        assert all(
            "--allow-outside" in problem.message for problem in dataset.problems if problem.fault is Fault.OUTSIDE
        )
        allowed = open_dataset(source, allow_outside=True)
        assert allowed.problems == ()
        assert [sample.name for sample in allowed.samples] == NAMES

    def test_a_linked_mask(self, tmp_path: Path) -> None:
        root = tmp_path / "set"
        save_pair(root, "a.png", 0)
        mask = (root / "masks" / "a.png").rename(tmp_path / "a.png")
        (root / "masks" / "a.png").symlink_to(mask)
        for source in (root, write_csv(root / "m.csv", [{"image": "images/a.png", "mask": "masks/a.png"}])):
            assert [fault for fault, _ in faults(open_dataset(source))] == [Fault.OUTSIDE]
            assert len(open_dataset(source, allow_outside=True).samples) == 1

    def test_a_link_that_stays_inside(self, tmp_path: Path) -> None:
        root = tmp_path / "set"
        save_pair(root, "a.png", 0)
        (root / "images" / "a.png").rename(root / "b.png")
        (root / "images" / "a.png").symlink_to(root / "b.png")
        assert open_dataset(root).problems == ()

    def test_a_linked_list_is_taken_only_when_named(self, tmp_path: Path) -> None:
        root = tmp_path / "set"
        save_images(root)
        FORMS["manifest.csv"](root)
        listed = (root / "manifest.csv").rename(tmp_path / "manifest.csv")
        (root / "manifest.csv").symlink_to(listed)
        with pytest.raises(DataError, match=r"manifest\.csv: is a link that leads out"):
            open_dataset(root)
        assert len(open_dataset(root / "manifest.csv").samples) == len(NAMES)
        assert len(open_dataset(root, allow_outside=True).samples) == len(NAMES)

    def test_by_dots_and_by_absolute_paths(self, tmp_path: Path) -> None:
        root = tmp_path / "set"
        save_pair(root, "a.png", 0)
        outside = save(tmp_path / "c.png", picture(2))
        rows = [
            {"image": str(root / "images/a.png"), "mask": str(root / "masks/a.png")},
            {"image": str(outside), "mask": "masks/a.png"},
            {"image": "../c.png", "mask": "masks/a.png"},
        ]
        dataset = open_dataset(write_csv(root / "m.csv", rows))
        assert [sample.name for sample in dataset.samples] == ["images/a.png"]
        assert faults(dataset) == [(Fault.OUTSIDE, "m.csv, line 3"), (Fault.OUTSIDE, "m.csv, line 4")]
        allowed = open_dataset(root / "m.csv", allow_outside=True)
        assert sorted(sample.name for sample in allowed.samples) == sorted(["images/a.png", outside.as_posix()])
        assert faults(allowed) == [(Fault.LISTED_TWICE, outside.as_posix())]
