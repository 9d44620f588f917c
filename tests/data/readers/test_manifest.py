"""Manifests in CSV and Parquet, and the fault that each error is reported as."""

import unicodedata
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.data.making import (
    faults,
    picture,
    save,
    save_pair,
    write_csv,
    write_parquet,
)
from tune_sa2va.data import Fault, open_dataset
from tune_sa2va.data.readers.nothing import says_nothing
from tune_sa2va.errors import DataError


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

    @pytest.mark.parametrize("word", ["nan", "NaN", "NA", "N/A", "None", "null", "<NA>", " nan "])
    @pytest.mark.parametrize("suffix", [".csv", ".parquet"])
    def test_words_for_nothing_count_as_empty_and_are_told(self, root: Path, suffix: str, word: str) -> None:
        rows = [
            {"image": f"images/{name}.png", "mask": f"masks/{name}.png", "group": word, "split": "", "text": word}
            for name in "ab"
        ]
        dataset = open_dataset(self.write(root / f"m{suffix}", rows))
        assert [(sample.group, sample.text) for sample in dataset.samples] == [
            ("images/a.png", "blood vessel"),
            ("images/b.png", "blood vessel"),
        ]
        assert faults(dataset) == [(Fault.COUNTED_EMPTY, f"m{suffix}")] * 2
        assert "2 cells of column 'group'" in dataset.problems[0].message

    @pytest.mark.parametrize("group", ["Nanette", "Nano", "NA-7", "no"])
    def test_names_that_hold_such_a_word_are_names(self, root: Path, group: str) -> None:
        rows = [{"image": "images/a.png", "mask": "masks/a.png", "group": group}]
        dataset = open_dataset(self.write(root / "m.csv", rows, ("image", "mask", "group")))
        assert (dataset.problems, dataset.samples[0].group) == ((), group)

    def test_numbers_that_are_none_in_parquet(self, root: Path) -> None:
        rows = [{"image": "images/a.png", "mask": "masks/a.png", "group": float("nan")}]
        dataset = open_dataset(write_parquet(root / "m.parquet", rows))
        assert dataset.samples[0].group == "images/a.png"

    def test_backslashes_of_another_system(self, root: Path) -> None:
        save_pair(root, "c\\d.png", 2)
        rows = [{"image": f"images\\{name}.png", "mask": f"masks\\{name}.png"} for name in ("a", "b")]
        rows.append({"image": "images/c\\d.png", "mask": "masks/c\\d.png"})
        dataset = open_dataset(self.write(root / "m.csv", rows, ("image", "mask")))
        assert dataset.problems == ()
        assert [sample.name for sample in dataset.samples] == ["images/a.png", "images/b.png", "images/c\\d.png"]
        out = [{"image": "..\\..\\x.png", "mask": "masks/a.png"}]
        assert faults(open_dataset(self.write(root / "m.csv", out, ("image", "mask")))) == [
            (Fault.OUTSIDE, "m.csv, line 2")
        ]

    def test_what_spreadsheets_leave_behind(self, root: Path) -> None:
        (root / "m.csv").write_text(
            "image,mask,,\r\nimages/a.png,masks/a.png,,\r\n,,,\r\nimages/b.png,masks/b.png,,\r\n,,,,,,\r\n"
        )
        dataset = open_dataset(root / "m.csv")
        assert dataset.problems == ()
        assert len(dataset.samples) == 2

    def test_two_columns_of_a_name_that_is_not_ours(self, root: Path) -> None:
        (root / "m.csv").write_text("image,mask,,age,age,\nimages/a.png,masks/a.png,1,2,3,\n")
        assert len(open_dataset(root / "m.csv").samples) == 1
        (root / "m.csv").write_text("image,mask,mask\nimages/a.png,masks/a.png,x\n")
        with pytest.raises(DataError, match="column 'mask' is there twice"):
            open_dataset(root / "m.csv")

    def test_names_that_look_the_same(self, root: Path) -> None:
        decomposed = unicodedata.normalize("NFD", "Gefäß.png")
        save_pair(root, decomposed, 2)
        (root / "masks" / decomposed).rename(root / "masks" / "Gefäß.png")
        rows = [{"image": "images/Gefäß.png", "mask": f"masks/{decomposed}"}]
        dataset = open_dataset(self.write(root / "m.csv", rows, ("image", "mask")))
        assert dataset.problems == ()
        assert dataset.samples[0].name == f"images/{decomposed}"

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

        def said(cell: str) -> str:
            return "" if says_nothing(cell) else cell.strip()

        rows = []
        for number, (group, split, text) in enumerate(cells):
            (root / f"images/{number}.png").touch()
            name = f"images/{number}.png"
            rows.append({"image": name, "mask": name, "group": group, "split": split, "text": text})
        wanted = [
            (row["image"], said(row["group"]) or row["image"], row["split"] or None, said(row["text"])) for row in rows
        ]
        for source in (write_csv(root / "m.csv", rows, self.COLUMNS), write_parquet(root / "m.parquet", rows)):
            dataset = open_dataset(source)
            assert {problem.fault for problem in dataset.problems} <= {Fault.COUNTED_EMPTY}
            got = [(sample.name, sample.group, sample.split, sample.text) for sample in dataset.samples]
            assert got == [(*rest, text or "blood vessel") for *rest, text in wanted]
