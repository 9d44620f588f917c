"""Masks that show several things, and targets that are absent."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from tune_sa2va.data import CheckReport, Dataset, Fault, check, fingerprint, load_truth, open_dataset
from tune_sa2va.data.labels import labels_of_nnunet, parse_labels
from tune_sa2va.data.rules import Rules
from tune_sa2va.errors import DataError, UserError

from .making import SHAPE, picture, rectangle_mask, rectangle_outline, save, write_csv, write_json

ARTERY, VEIN = rectangle_mask((2, 3, 10, 5)), rectangle_mask((12, 3, 20, 9))
RED, BLUE = (255, 0, 0), (0, 0, 255)


def label_map(artery: bool = True, vein: bool = True) -> np.ndarray:
    return (artery * ARTERY * 1 + vein * VEIN * 2).astype(np.uint8)


def folder(root: Path, maps: dict[str, np.ndarray]) -> Path:
    for seed, (name, values) in enumerate(maps.items()):
        save(root / "images" / f"{name}.png", picture(seed))
        save(root / "masks" / f"{name}.png", values)
    return root


def truths(dataset: Dataset) -> dict[tuple[str, str], np.ndarray]:
    return {(Path(s.name).stem, s.text): load_truth(s, *SHAPE) for s in dataset.samples}


def faults(report: CheckReport) -> list[Fault]:
    return [problem.fault for problem in report.problems]


class TestTable:
    def test_values_colours_and_blanks(self) -> None:
        labels = parse_labels(" 1 = artery, 2=vein ,#FF0000=stent,3=vein,#101010=wire")
        assert labels.texts == {"artery": ("1",), "vein": ("2", "3"), "stent": ("#ff0000",), "wire": ("16",)}
        assert labels.known == {"0", "1", "2", "3", "16", "#ff0000"}

    @pytest.mark.parametrize(
        "said", ["", "1", "1=", "=artery", "red=artery", "1=a,1=b", "-1=a", "#ff=a", "1=a,,2=b", "123456=a", "1=a,1=a"]
    )
    def test_no_labels(self, said: str) -> None:
        with pytest.raises(UserError, match="--labels"):
            parse_labels(said)

    @pytest.mark.parametrize(
        ("table", "texts"),
        [
            ({"background": 0, "artery": 1, "vein": 2}, {"artery": ("1",), "vein": ("2",)}),
            ({"background": 0, "vessel": [1, 2], "vein": [2]}, {"vessel": ("1", "2"), "vein": ("2",)}),
            ({"0": "background", "1": "artery"}, {"artery": ("1",)}),
        ],
    )
    def test_as_nnunet_writes_it(self, table: Any, texts: dict[str, tuple[str, ...]]) -> None:
        labels = labels_of_nnunet(table, Path("dataset.json"))
        assert (labels.texts, labels.background) == (texts, ("0",))

    @pytest.mark.parametrize(
        "table",
        [{}, [], {"a": "b"}, {"a": -1}, {"a": True}, {"a": []}, {"a": 1.5}, {"background": 0}, {"a": 1, "ignore": 2}],
    )
    def test_no_table_of_nnunet(self, table: Any) -> None:
        with pytest.raises(UserError, match=r"dataset\.json"):
            labels_of_nnunet(table, Path("dataset.json"))

    @given(st.text(max_size=40))
    def test_any_text_is_a_table_or_refused(self, said: str) -> None:
        try:
            labels = parse_labels(said)
        except UserError as error:
            assert str(error).endswith(".")
        else:
            assert labels.texts


class TestMaps:
    RULES = Rules(labels="1=artery,2=vein")

    @pytest.mark.parametrize("kind", ["L", "P", "I;16", "RGB"])
    def test_each_value_is_a_text(self, tmp_path: Path, kind: str) -> None:
        root = folder(tmp_path, {"a": label_map(), "b": label_map(vein=False)})
        for path in (root / "masks").iterdir():
            values = np.asarray(Image.open(path))
            image = Image.fromarray(values)
            if kind == "P":
                image = Image.frombytes("P", image.size, values.tobytes())
                image.putpalette([0, 0, 0, 255, 0, 0, 0, 0, 255])
            image = {"I;16": lambda v=values: Image.fromarray(v.astype(np.uint16))}.get(kind, lambda i=image: i)()
            (image.convert("RGB") if kind == "RGB" else image).save(path)
        dataset = open_dataset(root, rules=self.RULES)
        found = truths(dataset)
        assert np.array_equal(found["a", "artery"], ARTERY)
        assert np.array_equal(found["a", "vein"], VEIN)
        assert np.array_equal(found["b", "artery"], ARTERY)
        assert not found["b", "vein"].any()

    def test_the_darker_of_two_labels_is_not_lost(self, tmp_path: Path) -> None:
        root = folder(tmp_path, {"a": np.where(ARTERY, 1, 2).astype(np.uint8)})
        assert np.array_equal(truths(open_dataset(root, rules=self.RULES))["a", "artery"], ARTERY)

    def test_classes_by_colour(self, tmp_path: Path) -> None:
        colours = np.zeros((*SHAPE, 3), np.uint8)
        colours[ARTERY], colours[VEIN] = RED, BLUE
        root = folder(tmp_path, {"a": colours})
        found = truths(open_dataset(root, rules=Rules(labels="#ff0000=artery,#0000ff=vein")))
        assert np.array_equal(found["a", "artery"], ARTERY)
        assert np.array_equal(found["a", "vein"], VEIN)

    @pytest.mark.parametrize("values", [label_map() + 5 * ARTERY.astype(np.uint8), picture(0)])
    def test_values_without_a_label_are_errors(self, tmp_path: Path, values: np.ndarray) -> None:
        report = check(open_dataset(folder(tmp_path, {"a": values}), rules=self.RULES))
        assert set(faults(report)) == {Fault.UNKNOWN_LABEL}
        assert report.samples == ()

    def test_without_labels_the_cure_names_them(self, tmp_path: Path) -> None:
        [problem] = check(open_dataset(folder(tmp_path, {"a": label_map()}))).problems
        assert problem.fault is Fault.NOT_TWO_VALUED and "--labels 1=artery,2=vein" in problem.message

    def test_a_column_of_the_manifest(self, tmp_path: Path) -> None:
        folder(tmp_path, {"a": label_map(), "b": ARTERY})
        rows = [
            {"image": "images/a.png", "mask": "masks/a.png", "labels": "1=artery,2=vein"},
            {"image": "images/b.png", "mask": "masks/b.png", "text": "stent"},
            {"image": "images/b.png", "mask": "masks/b.png", "text": "stent", "labels": "1=x"},
            {"image": "images/b.png", "mask": "masks/b.png", "labels": "x"},
        ]
        dataset = open_dataset(write_csv(tmp_path / "manifest.csv", rows, ("image", "mask", "text", "labels")))
        assert [(s.name, s.text) for s in dataset.samples] == [
            ("images/a.png", "artery"),
            ("images/a.png", "vein"),
            ("images/b.png", "stent"),
        ]
        assert [p.file for p in dataset.problems] == ["manifest.csv, line 4", "manifest.csv, line 5"]

    def test_dataset_json_beside_the_folders(self, tmp_path: Path) -> None:
        folder(tmp_path, {"a": label_map()})
        write_json(tmp_path / "dataset.json", {"labels": {"background": 0, "artery": 1, "vein": 2}})
        assert {text for _, text in truths(open_dataset(tmp_path))} == {"artery", "vein"}

    def test_polygons_have_their_texts(self, tmp_path: Path) -> None:
        save(tmp_path / "images" / "a.png", picture(0))
        write_json(tmp_path / "annotations.json", [{"image": "a.png", "mask": [rectangle_outline((2, 3, 10, 5))]}])
        with pytest.raises(DataError, match="no image has a mask file"):
            open_dataset(tmp_path, rules=self.RULES)

    def test_the_fingerprint_knows_which_values_are_asked_for(self, tmp_path: Path) -> None:
        root = folder(tmp_path, {"a": label_map()})
        prints = {
            fingerprint(open_dataset(root, rules=Rules(labels=said)).samples)
            for said in ("1=artery,2=vein", "2=artery,1=vein", "1=artery,2=vein")
        }
        assert len(prints) == 2

    def test_the_size_of_a_map(self, tmp_path: Path) -> None:
        root = folder(tmp_path, {"a": label_map()[:, :-1]})
        assert set(faults(check(open_dataset(root, rules=self.RULES)))) == {Fault.SIZE_MISMATCH}


class TestAbsent:
    def test_labels_that_some_maps_lack_are_one_line_a_text(self, tmp_path: Path) -> None:
        maps = {"a": label_map(), "b": label_map(vein=False), "c": label_map(vein=False)}
        report = check(open_dataset(folder(tmp_path, maps), rules=TestMaps.RULES))
        [problem] = report.warnings
        assert problem.fault is Fault.ABSENT
        assert "'vein' in 2 of 3 images" in problem.message and "--absent keep" in problem.message
        assert len(report.samples) == 4

    def test_kept_where_it_is_meant(self, tmp_path: Path) -> None:
        rules = Rules(labels="1=artery,2=vein", absent="keep")
        root = folder(tmp_path, {"a": label_map(), "b": label_map(vein=False)})
        report = check(open_dataset(root, rules=rules))
        assert report.problems == ()
        shares = dict(zip(((Path(s.name).stem, s.text) for s in report.samples), report.foreground, strict=True))
        assert {key for key, share in shares.items() if share == 0} == {("b", "vein")}

    def test_empty_mask_files(self, tmp_path: Path) -> None:
        root = folder(tmp_path, {"a": ARTERY, "b": np.zeros(SHAPE, bool)})
        assert faults(check(open_dataset(root))) == [Fault.EMPTY_MASK]
        kept = check(open_dataset(root, rules=Rules(absent="keep")))
        assert (kept.problems, len(kept.samples)) == ((), 2)

    def test_texts_without_polygons(self, tmp_path: Path) -> None:
        save(tmp_path / "images" / "a.png", picture(0))
        entry = {"image": "a.png", "mask": [[rectangle_outline((2, 3, 10, 5))], []], "text": ["artery", "vein"]}
        write_json(tmp_path / "annotations.json", [entry])
        report = check(open_dataset(tmp_path, rules=Rules(absent="keep")))
        assert report.problems == ()
        assert [(s.text, share > 0) for s, share in zip(report.samples, report.foreground, strict=True)] == [
            ("artery", True),
            ("vein", False),
        ]
