"""Every reader under one contract, and what each does with lists that are wrong."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tune_sa2va.data import Dataset, Fault, Polygons, load_image, load_truth, open_dataset
from tune_sa2va.errors import DataError

from .making import (
    FORMS,
    GROUPS,
    RECTANGLES,
    SHAPE,
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

OUTLINE = rectangle_outline((2, 3, 10, 5))
NAMES = [f"images/{name}" for name in sorted(RECTANGLES)]


def faults(dataset: Dataset) -> list[tuple[Fault, str]]:
    return [(problem.fault, problem.file) for problem in dataset.problems]


@pytest.mark.parametrize("form", FORMS)
class TestContract:
    """The same images, masks and groups, whatever the form of the data set."""

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

    def test_files_that_are_no_images_are_passed_over(self, tmp_path: Path, form: str) -> None:
        root = tmp_path / "data set"
        save_images(root)
        source = FORMS[form](root)
        before = open_dataset(source)
        for name in ("._alone.bmp", "Thumbs.db", "notes.txt"):
            (root / "images" / name).write_bytes(b"\0")
        assert open_dataset(source) == before


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
    """Nothing outside the data set's folder is taken, unless the caller allows it."""

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


class TestManifest:
    COLUMNS = ("image", "mask", "group", "split", "text")

    @pytest.fixture
    def root(self, tmp_path: Path) -> Path:
        root = tmp_path / "set"
        save_pair(root, "a.png", 0)
        save_pair(root, "b.png", 1)
        return root

    @staticmethod
    def write(path: Path, rows: list[dict[str, Any]], columns: tuple[str, ...] = COLUMNS) -> Path:
        return write_csv(path, rows, columns) if path.suffix == ".csv" else write_parquet(path, rows)

    @pytest.mark.parametrize("suffix", [".csv", ".parquet"])
    def test_all_columns(self, root: Path, suffix: str) -> None:
        rows: list[dict[str, Any]] = [
            {"image": "images/a.png", "mask": "masks/a.png", "group": 7, "split": "test", "text": "left, main"},
            {"image": "images/b.png", "mask": "masks/b.png", "group": None, "split": None, "text": None},
            {"image": "images/b.png", "mask": "masks/a.png", "group": 8, "split": "val", "text": "artery"},
        ]
        samples = open_dataset(self.write(root / f"m{suffix}", rows)).samples
        told = [(sample.name, sample.group, sample.split, sample.text) for sample in samples]
        assert told == [
            ("images/a.png", "7", "test", "left, main"),
            ("images/b.png", "8", "val", "artery"),
            ("images/b.png", "images/b.png", None, "blood vessel"),
        ]

    @pytest.mark.parametrize("suffix", [".csv", ".parquet"])
    def test_unknown_columns_are_passed_over(self, root: Path, suffix: str) -> None:
        rows = [{"image": "images/a.png", "mask": "masks/a.png", "age": 61, "context": "x"}]
        dataset = open_dataset(self.write(root / f"m{suffix}", rows, ("image", "mask", "age", "context")))
        assert len(dataset.samples) == 1
        assert dataset.problems == ()

    @pytest.mark.parametrize("suffix", [".csv", ".parquet"])
    @pytest.mark.parametrize(
        ("column", "meant"), [("gruop", "group"), ("Split", "split"), ("texts", "text"), ("GROUP", "group")]
    )
    def test_a_misspelt_column_stops_the_read(self, root: Path, suffix: str, column: str, meant: str) -> None:
        rows = [{"image": "images/a.png", "mask": "masks/a.png", column: "x"}]
        with pytest.raises(DataError, match=f"'{column}'. Did you mean '{meant}'"):
            open_dataset(self.write(root / f"m{suffix}", rows, ("image", "mask", column)))

    @pytest.mark.parametrize("suffix", [".csv", ".parquet"])
    def test_a_required_column_is_missing(self, root: Path, suffix: str) -> None:
        with pytest.raises(DataError, match="lacks mask"):
            open_dataset(self.write(root / f"m{suffix}", [{"image": "images/a.png"}], ("image",)))

    @pytest.mark.parametrize(
        ("row", "fault", "file"),
        [
            ({"image": "images/a.png", "mask": ""}, Fault.NOT_ANNOTATED, "images/a.png"),
            ({"image": "images/a.png", "mask": "masks/no.png"}, Fault.MISSING_MASK, "images/a.png"),
            ({"image": "images/no.png", "mask": "masks/a.png"}, Fault.MISSING_IMAGE, "images/no.png"),
            ({"image": "x" * 3000, "mask": "masks/a.png"}, Fault.MISSING_IMAGE, "x" * 3000),
            ({"image": "x" * 5000, "mask": "masks/a.png"}, Fault.BAD_ENTRY, "m.csv, line 3"),
            ({"image": "", "mask": "masks/a.png"}, Fault.BAD_ENTRY, "m.csv, line 3"),
            ({"image": "../a.png", "mask": "masks/a.png"}, Fault.OUTSIDE, "m.csv, line 3"),
            ({"image": "images/../../a.png", "mask": "masks/a.png"}, Fault.OUTSIDE, "m.csv, line 3"),
            ({"image": "images/a.png", "mask": "../a.png"}, Fault.OUTSIDE, "m.csv, line 3"),
            ({"image": "/nowhere/a.png", "mask": "masks/a.png"}, Fault.OUTSIDE, "m.csv, line 3"),
            (
                {"image": "images/a.png", "mask": "masks/a.png", "split": "training"},
                Fault.BAD_ENTRY,
                "m.csv, line 3",
            ),
            ({"image": "images/b.png", "mask": "masks/a.png"}, Fault.LISTED_TWICE, "images/b.png"),
        ],
    )
    def test_a_bad_row_is_a_problem_and_the_others_are_read(
        self, root: Path, row: dict[str, str], fault: Fault, file: str
    ) -> None:
        save(root.parent / "a.png", picture(3))
        good = {"image": "images/b.png", "mask": "masks/b.png"}
        dataset = open_dataset(write_csv(root / "m.csv", [good, row], self.COLUMNS))
        assert [sample.name for sample in dataset.samples] == ["images/b.png"]
        assert faults(dataset) == [(fault, file)]

    def test_a_ragged_row_is_a_problem(self, root: Path) -> None:
        (root / "m.csv").write_text("image,mask\nimages/a.png,masks/a.png,x\n\nimages/b.png,masks/b.png\n")
        dataset = open_dataset(root / "m.csv")
        assert [sample.name for sample in dataset.samples] == ["images/b.png"]
        assert faults(dataset) == [(Fault.BAD_ENTRY, "m.csv, line 2")]

    def test_byte_order_mark_and_spaces(self, root: Path) -> None:
        (root / "m.csv").write_text("image, mask\r\nimages/a.png , masks/a.png\r\n", encoding="utf-8-sig")
        assert [sample.name for sample in open_dataset(root / "m.csv").samples] == ["images/a.png"]

    @pytest.mark.parametrize(
        ("name", "content"),
        [
            ("m.csv", b""),
            ("m.csv", b"image;mask\na;b\n"),
            ("m.csv", b"image,mask,mask\na,b,c\n"),
            ("m.csv", "image,mask\nä,b\n".encode("latin-1")),
            ("m.csv", b'image,mask\n"a,b\n'),
            ("m.csv", b"image,mask\n" + b"a" * 200_000 + b",b\n"),
            ("m.parquet", b""),
            ("m.parquet", b"PAR1 no parquet PAR1"),
        ],
    )
    def test_a_list_that_cannot_be_read(self, root: Path, name: str, content: bytes) -> None:
        (root / name).write_bytes(content)
        with pytest.raises(DataError, match=name):
            open_dataset(root / name)

    @settings(deadline=None, max_examples=40)
    @given(
        cells=st.lists(
            st.tuples(
                st.text(st.characters(codec="utf-8"), max_size=12),
                st.sampled_from(["train", "val", "test", ""]),
                st.text(st.characters(codec="utf-8"), max_size=12),
            ),
            min_size=1,
            max_size=6,
        )
    )
    def test_cells_come_through_whatever_they_hold(
        self, tmp_path_factory: pytest.TempPathFactory, cells: list[tuple[str, str, str]]
    ) -> None:
        root = tmp_path_factory.mktemp("set")
        (root / "images").mkdir()
        rows = []
        for number, (group, split, text) in enumerate(cells):
            (root / f"images/{number}.png").touch()
            name = f"images/{number}.png"
            rows.append({"image": name, "mask": name, "group": group, "split": split, "text": text})
        wanted = [
            (row["image"], row["group"].strip() or row["image"], row["split"] or None, row["text"].strip())
            for row in rows
        ]
        for source in (write_csv(root / "m.csv", rows, self.COLUMNS), write_parquet(root / "m.parquet", rows)):
            dataset = open_dataset(source)
            assert dataset.problems == ()
            got = [(sample.name, sample.group, sample.split, sample.text) for sample in dataset.samples]
            assert got == [(*rest, text or "blood vessel") for *rest, text in wanted]


class TestAnnotations:
    @pytest.fixture
    def root(self, tmp_path: Path) -> Path:
        save(tmp_path / "images" / "a.png", picture(0))
        return tmp_path

    @staticmethod
    def read(root: Path, *entries: Any) -> Dataset:
        return open_dataset(write_json(root / "annotations.json", list(entries)))

    def test_one_sample_for_each_text(self, root: Path) -> None:
        other = rectangle_outline((12, 3, 20, 9))
        entry = {"image": "a.png", "mask": [[OUTLINE], [OUTLINE, other]], "text": ["vein", "artery"]}
        artery, vein = self.read(root, entry).samples
        assert (artery.text, vein.text) == ("artery", "vein")
        assert artery.mask == Polygons(outlines=(tuple(map(float, OUTLINE)), tuple(map(float, other))))
        assert vein.mask == Polygons(outlines=(tuple(map(float, OUTLINE)),))

    def test_image_names(self, root: Path) -> None:
        save(root / "b.png", picture(1))
        names = ("a.png", "images/a.png", "b.png")
        entries = [{"image": name, "mask": [OUTLINE], "text": [name]} for name in names]
        samples = self.read(root, *entries).samples
        assert [(sample.name, sample.text) for sample in samples] == [
            ("b.png", "b.png"),
            ("images/a.png", "a.png"),
            ("images/a.png", "images/a.png"),
        ]

    @pytest.mark.parametrize("mask", [[], [[]], [[], []]])
    def test_an_entry_without_polygons(self, root: Path, mask: list[Any]) -> None:
        dataset = self.read(root, {"image": "a.png", "mask": mask, "text": ["blood vessel"]})
        assert dataset.samples == ()
        assert faults(dataset) == [(Fault.NOT_ANNOTATED, "images/a.png")]

    def test_a_text_without_polygons_and_an_image_without_entry(self, root: Path) -> None:
        save(root / "images" / "b.png", picture(1))
        dataset = self.read(root, {"image": "a.png", "mask": [[OUTLINE], []], "text": ["vein", "artery"]})
        assert [sample.text for sample in dataset.samples] == ["vein"]
        assert faults(dataset) == [(Fault.NOT_ANNOTATED, "images/a.png"), (Fault.NOT_ANNOTATED, "images/b.png")]
        assert "artery" in dataset.problems[0].message

    @pytest.mark.parametrize(
        ("entry", "message"),
        [
            ("a.png", "got a text"),
            ({"mask": [OUTLINE], "text": ["x"]}, "'image' must be a file name, got nothing"),
            ({"image": 3, "mask": [OUTLINE], "text": ["x"]}, "'image' must be a file name, got a number"),
            ({"image": "a.png", "mask": [OUTLINE], "text": "x"}, "'text' must be a list"),
            ({"image": "a.png", "mask": [OUTLINE], "text": [" "]}, "'text' must be a list"),
            ({"image": "a.png", "mask": OUTLINE, "text": ["x"]}, "'mask' must be a list of polygons"),
            ({"image": "a.png", "mask": [OUTLINE, [OUTLINE]], "text": ["x", "y"]}, "mixes"),
            ({"image": "a.png", "mask": [OUTLINE], "text": ["x", "y"]}, "one flat list"),
            ({"image": "a.png", "mask": [[OUTLINE]], "text": ["x", "y"]}, "for 1 texts, but there are 2"),
            ({"image": "a.png", "mask": [[1, 2, 3, 4, 5, 6, 7]], "text": ["x"]}, "got 7 numbers"),
            ({"image": "a.png", "mask": [[1, 2, 3, "4", 5, 6]], "text": ["x"]}, "list of numbers"),
            ({"image": "a.png", "mask": [[1, 2, 3, True, 5, 6]], "text": ["x"]}, "list of numbers"),
            ({"image": "a.png", "mask": [[1, 2, 3, 10**400, 5, 6]], "text": ["x"]}, "list of numbers"),
            ({"image": "a.png", "mask": [[[OUTLINE]]], "text": ["x"]}, "list of numbers"),
        ],
    )
    def test_a_bad_entry_is_a_problem_and_the_others_are_read(self, root: Path, entry: Any, message: str) -> None:
        save(root / "images" / "b.png", picture(1))
        dataset = self.read(root, entry, {"image": "b.png", "mask": [OUTLINE], "text": ["x"]})
        assert [sample.name for sample in dataset.samples] == ["images/b.png"]
        first = dataset.problems[0]
        assert (first.fault, first.file) == (Fault.BAD_ENTRY, "annotations.json, entry 1")
        assert message in first.message

    @pytest.mark.parametrize("image", ["../../a.png", "/a.png", "x/../../../a.png"])
    def test_an_image_outside(self, root: Path, image: str) -> None:
        dataset = self.read(root, {"image": image, "mask": [OUTLINE], "text": ["x"]})
        assert faults(dataset) == [(Fault.OUTSIDE, "annotations.json, entry 1"), (Fault.NOT_ANNOTATED, "images/a.png")]

    def test_missing_image_and_repeated_entry(self, root: Path) -> None:
        entry = {"image": "a.png", "mask": [OUTLINE], "text": ["x"]}
        dataset = self.read(root, entry, entry, {"image": "no.png", "mask": [OUTLINE], "text": ["x"]})
        assert len(dataset.samples) == 1
        assert faults(dataset) == [(Fault.LISTED_TWICE, "images/a.png"), (Fault.MISSING_IMAGE, "images/no.png")]

    @pytest.mark.parametrize(
        "content", [b"", b"{}", b'{"image": "a.png"}', b"[", b"\xff\xfe\xfd", b"[[[NaN]]]", b"[" * 100_000, b"3"]
    )
    def test_a_list_that_cannot_be_read(self, root: Path, content: bytes) -> None:
        (root / "annotations.json").write_bytes(content)
        with pytest.raises(DataError, match=r"annotations\.json"):
            open_dataset(root)

    @settings(deadline=None, max_examples=40)
    @given(
        polygons_of_text=st.dictionaries(
            st.text(st.characters(codec="utf-8"), min_size=1, max_size=9).filter(lambda text: text == text.strip()),
            st.lists(
                st.lists(st.floats(-1e6, 1e6) | st.integers(0, 2000), max_size=10).filter(
                    lambda outline: outline and len(outline) % 2 == 0
                ),
                min_size=1,
                max_size=4,
            ),
            min_size=1,
            max_size=4,
        )
    )
    def test_both_shapes_come_through(
        self, tmp_path_factory: pytest.TempPathFactory, polygons_of_text: dict[str, list[list[float]]]
    ) -> None:
        root = tmp_path_factory.mktemp("set")
        (root / "images").mkdir()
        (root / "images" / "a.png").touch()
        entry = {"image": "a.png", "mask": list(polygons_of_text.values()), "text": list(polygons_of_text)}
        shapes = [[entry]]
        if len(polygons_of_text) == 1:
            shapes.append([{**entry, "mask": next(iter(polygons_of_text.values()))}])
        for entries in shapes:
            dataset = self.read(root, *entries)
            assert dataset.problems == ()
            got = {sample.text: sample.mask for sample in dataset.samples}
            assert got == {
                text: Polygons(outlines=tuple(tuple(map(float, outline)) for outline in outlines))
                for text, outlines in polygons_of_text.items()
            }

    JSON = st.recursive(
        st.none()
        | st.booleans()
        | st.integers(-9, 9)
        | st.floats(allow_nan=False, allow_infinity=False)
        | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["image", "mask", "text"]), inner),
        max_leaves=12,
    )

    @settings(deadline=None, max_examples=50)
    @given(content=JSON | st.lists(st.fixed_dictionaries({"image": st.just("a.png"), "mask": JSON, "text": JSON})))
    def test_any_json_gives_samples_problems_or_a_data_error(
        self, tmp_path_factory: pytest.TempPathFactory, content: Any
    ) -> None:
        root = tmp_path_factory.mktemp("set")
        save(root / "images" / "a.png", picture(0))
        (root / "annotations.json").write_text(json.dumps(content))
        try:
            dataset = open_dataset(root)
        except DataError:
            assert not isinstance(content, list)
        else:
            assert dataset.samples or dataset.problems
