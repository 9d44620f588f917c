"""Polygons in JSON, in both published forms, and the fault that each error is reported as."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.data.making import (
    faults,
    picture,
    rectangle_mask,
    rectangle_outline,
    save,
    write_json,
)
from tune_sa2va.data import Dataset, Fault, Polygons, check, fingerprint, load_truth, open_dataset
from tune_sa2va.data.readers.nothing import says_nothing
from tune_sa2va.data.rules import Rules
from tune_sa2va.errors import DataError

OUTLINE = rectangle_outline((2, 3, 10, 5))


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

    @pytest.mark.parametrize("text", ["nan", "NA", "None", "null"])
    def test_a_text_that_says_nothing(self, root: Path, text: str) -> None:
        dataset = self.read(root, {"image": "a.png", "mask": [OUTLINE], "text": [text]})
        assert faults(dataset) == [(Fault.BAD_ENTRY, "annotations.json, entry 1")]

    def test_one_text_twice_in_an_entry(self, root: Path) -> None:
        dataset = self.read(root, {"image": "a.png", "mask": [[OUTLINE], [OUTLINE]], "text": ["vessel", " vessel"]})
        [problem] = dataset.problems
        assert problem.message == "'text' has 'vessel' twice. Put all its polygons into one list, under one text."

    def test_outlines_under_a_key_of_another_format(self, root: Path) -> None:
        save(root / "images" / "b.png", picture(1))
        coco = {"segmentation": [OUTLINE], "iscrowd": 0}
        dataset = self.read(
            root, {"image": "a.png", **coco, "text": ["vessel"]}, {"image": "b.png", "mask": [OUTLINE], **coco}
        )
        assert [sample.name for sample in dataset.samples] == ["images/b.png"]
        assert faults(dataset) == [
            (Fault.BAD_ENTRY, "annotations.json, entry 1"),
            (Fault.UNREAD_KEY, "annotations.json"),
            (Fault.UNREAD_KEY, "annotations.json"),
        ]
        said = [problem.message for problem in dataset.problems]
        assert "no 'mask', but 'segmentation'" in said[0]
        assert said[1].startswith("2 entries have the key 'segmentation'") and "under 'mask'" in said[1]
        assert said[2].startswith("2 entries have the key 'iscrowd'")

    @pytest.mark.parametrize(("key", "meant"), [("gruop", "group"), ("masks", "mask"), ("Text", "text")])
    def test_a_misspelt_key(self, root: Path, key: str, meant: str) -> None:
        dataset = self.read(root, {"image": "a.png", "mask": [OUTLINE], key: "x"})
        assert faults(dataset) == [(Fault.BAD_ENTRY, "annotations.json")]
        assert f"Did you mean '{meant}'?" in dataset.problems[0].message

    @pytest.mark.parametrize(
        ("size", "fault"),
        [
            ({"width": 32, "height": 24}, None),
            ({"width": 16, "height": 12}, Fault.SIZE_MISMATCH),
            ({"width": 24, "height": 32}, Fault.SIZE_MISMATCH),
        ],
    )
    def test_the_size_that_an_entry_says(self, root: Path, size: dict[str, int], fault: Fault | None) -> None:
        report = check(self.read(root, {"image": "a.png", "mask": [OUTLINE], "text": ["x"], **size}))
        assert [problem.fault for problem in report.problems] == ([] if fault is None else [fault])
        if fault:
            assert "the picture has 32 x 24" in report.problems[0].message

    @pytest.mark.parametrize("size", [{"width": 32}, {"width": "32", "height": 24}, {"width": 0, "height": 0}])
    def test_half_a_size(self, root: Path, size: dict[str, Any]) -> None:
        dataset = self.read(root, {"image": "a.png", "mask": [OUTLINE], "text": ["x"], **size})
        assert faults(dataset) == [(Fault.BAD_ENTRY, "annotations.json, entry 1")]

    def test_outlines_inside_others_need_a_word(self, root: Path) -> None:
        inner = rectangle_outline((4, 4, 8, 5))
        entry = {"image": "a.png", "mask": [OUTLINE, inner], "text": ["x"]}
        [problem] = check(self.read(root, entry)).problems
        assert problem.fault is Fault.NESTED_OUTLINES
        assert "1 of 2 outlines lie inside others (number 2 first)" in problem.message
        assert "--outlines even-odd" in problem.message
        outer, hole = rectangle_mask((2, 3, 10, 5)), rectangle_mask((4, 4, 8, 5))
        for rule, wanted in (("union", outer), ("even-odd", outer & ~hole)):
            dataset = open_dataset(root, rules=Rules(outlines=rule))
            assert check(dataset).problems == ()
            assert np.array_equal(load_truth(dataset.samples[0], 24, 32), wanted)

    def test_the_fingerprint_knows_how_outlines_are_meant(self, root: Path) -> None:
        self.read(root, {"image": "a.png", "mask": [OUTLINE], "text": ["x"]})
        unsaid, union, even_odd = (
            fingerprint(open_dataset(root, rules=Rules(outlines=rule)).samples) for rule in (None, "union", "even-odd")
        )
        assert unsaid == union != even_odd

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
            st.text(st.characters(codec="utf-8"), min_size=1, max_size=9).filter(
                lambda text: text == text.strip() and not says_nothing(text)
            ),
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
