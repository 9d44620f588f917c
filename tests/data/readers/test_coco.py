"""COCO's instances.json, with polygons and both kinds of run lengths."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco

from tests.data.making import SHAPE, faults, picture, rectangle_mask, rectangle_outline, save, write_json
from tune_sa2va.data import Dataset, Fault, check, fingerprint, load_truth, open_dataset
from tune_sa2va.data.rules import Rules
from tune_sa2va.errors import DataError

ARTERY, VEIN = (2, 3, 10, 5), (12, 3, 20, 9)
CATEGORIES = [{"id": 1, "name": "artery", "supercategory": "vessel"}, {"id": 7, "name": "vein"}]


def runs_of(rectangle: tuple[int, int, int, int], *, packed: bool) -> dict[str, Any]:
    mask = np.asfortranarray(rectangle_mask(rectangle).astype(np.uint8))
    counts = coco.encode(mask)["counts"].decode() if packed else counts_of(rectangle)
    return {"size": list(SHAPE), "counts": counts}


def counts_of(rectangle: tuple[int, int, int, int]) -> list[int]:
    """Uncompressed counts of a mask, computed pixel by pixel."""
    counts, value = [0], 0
    for pixel in rectangle_mask(rectangle).ravel(order="F"):
        if pixel != value:
            counts.append(0)
            value = pixel
        counts[-1] += 1
    return counts


class TestCoco:
    @pytest.fixture
    def root(self, tmp_path: Path) -> Path:
        for seed, name in enumerate("ab"):
            save(tmp_path / "images" / f"{name}.png", picture(seed))
        return tmp_path

    @staticmethod
    def images(**changed: Any) -> list[dict[str, Any]]:
        return [
            {"id": 1, "file_name": "a.png", "width": 32, "height": 24, "license": 0} | changed,
            {"id": "two", "file_name": "images/b.png"},
        ]

    def write(self, root: Path, *annotations: Any, name: str = "instances.json", **changed: Any) -> Dataset:
        content = {"info": {}, "images": self.images(), "categories": CATEGORIES, "annotations": list(annotations)}
        return open_dataset(write_json(root / name, content | changed))

    @staticmethod
    def annotation(image: Any, category: int, segmentation: Any) -> dict[str, Any]:
        return {"id": 9, "image_id": image, "category_id": category, "segmentation": segmentation, "iscrowd": 0}

    @pytest.mark.parametrize("name", ["instances.json", "annotations.json", "_annotations.coco.json", "other.json"])
    def test_polygons_and_run_lengths(self, root: Path, name: str) -> None:
        dataset = self.write(
            root,
            self.annotation(1, 1, [rectangle_outline(ARTERY)]),
            self.annotation(1, 7, runs_of(VEIN, packed=True)),
            self.annotation("two", 7, runs_of(VEIN, packed=False)),
            name=name,
        )
        assert dataset.problems == ()
        found = {(Path(s.name).stem, s.text): load_truth(s, *SHAPE) for s in dataset.samples}
        assert set(found) == {("a", "artery"), ("a", "vein"), ("b", "vein")}
        assert np.array_equal(found["a", "artery"], rectangle_mask(ARTERY))
        assert np.array_equal(found["a", "vein"], rectangle_mask(VEIN))
        assert np.array_equal(found["b", "vein"], rectangle_mask(VEIN))
        if name != "other.json":
            assert open_dataset(root) == dataset

    def test_all_annotations_of_a_category_are_one_sample(self, root: Path) -> None:
        dataset = self.write(
            root,
            self.annotation(1, 1, [rectangle_outline(ARTERY)]),
            self.annotation(1, 1, [rectangle_outline(VEIN)]),
            self.annotation(1, 1, runs_of((0, 20, 5, 24), packed=True)),
        )
        [sample] = dataset.samples
        wanted = rectangle_mask(ARTERY) | rectangle_mask(VEIN) | rectangle_mask((0, 20, 5, 24))
        assert np.array_equal(load_truth(sample, *SHAPE), wanted)
        assert faults(dataset) == [(Fault.NOT_ANNOTATED, "images/b.png")]

    def test_absent_categories_where_they_are_meant(self, root: Path) -> None:
        self.write(root, self.annotation(1, 1, [rectangle_outline(ARTERY)]))
        report = check(open_dataset(root, rules=Rules(absent="keep")))
        assert report.problems == ()
        shown = [(Path(s.name).stem, s.text) for s, f in zip(report.samples, report.foreground, strict=True) if f]
        assert (len(report.samples), shown) == (4, [("a", "artery")])

    def test_sizes_and_groups(self, root: Path) -> None:
        images = self.images(width=16, height=12, group="P7")
        dataset = self.write(root, self.annotation(1, 1, [rectangle_outline(ARTERY)]), images=images)
        assert dataset.samples[0].group == "P7"
        assert [p.fault for p in check(dataset).errors] == [Fault.SIZE_MISMATCH]
        wrong = {"size": [12, 16], "counts": [0, 192]}
        dataset = self.write(root, self.annotation("two", 1, wrong))
        assert [p.fault for p in check(dataset).errors] == [Fault.SIZE_MISMATCH]

    def test_the_fingerprint_knows_the_run_lengths(self, root: Path) -> None:
        prints = {
            fingerprint(self.write(root, self.annotation(1, 1, runs_of(rectangle, packed=packed))).samples)
            for rectangle in (ARTERY, VEIN)
            for packed in (True, False)
        }
        assert len(prints) == 2

    @pytest.mark.parametrize(
        ("annotation", "says"),
        [
            ("x", "got a text"),
            ({"image_id": 1, "category_id": 9, "segmentation": [[0, 0, 1, 1, 2, 0]]}, "must be ids"),
            ({"image_id": [1], "category_id": 1, "segmentation": [[0, 0, 1, 1, 2, 0]]}, "must be ids"),
            ({"image_id": 1, "category_id": 1, "bbox": [1, 2, 3, 4]}, "boxes alone"),
            ({"image_id": 1, "category_id": 1, "segmentation": []}, "boxes alone"),
            ({"image_id": 1, "category_id": 1, "segmentation": [[0, 0, 1]]}, "got 3 numbers"),
            ({"image_id": 1, "category_id": 1, "segmentation": {"size": [24], "counts": [1]}}, "'size'"),
            ({"image_id": 1, "category_id": 1, "segmentation": {"size": [9999999, 9999999], "counts": [1]}}, "at most"),
            ({"image_id": 1, "category_id": 1, "segmentation": {"size": [24, 32], "counts": [1]}}, "add up to"),
            ({"image_id": 1, "category_id": 1, "segmentation": {"size": [2, 2], "counts": [-1, 5]}}, "add up to"),
            ({"image_id": 1, "category_id": 1, "segmentation": {"size": [2, 2], "counts": "~"}}, "cannot be read"),
            ({"image_id": 1, "category_id": 1, "segmentation": {"size": [2, 2], "counts": None}}, "add up to"),
        ],
    )
    def test_a_bad_annotation_is_a_problem(self, root: Path, annotation: Any, says: str) -> None:
        dataset = self.write(root, annotation, self.annotation("two", 1, [rectangle_outline(ARTERY)]))
        assert [s.name for s in dataset.samples] == ["images/b.png"]
        assert (dataset.problems[0].fault, dataset.problems[0].file) == (
            Fault.BAD_ENTRY,
            "instances.json, annotation 1",
        )
        assert says in dataset.problems[0].message

    @pytest.mark.parametrize(
        ("image", "fault"),
        [
            ({"id": 1}, Fault.BAD_ENTRY),
            ("x", Fault.BAD_ENTRY),
            ({"id": 1, "file_name": "a.png", "width": "32", "height": 24}, Fault.BAD_ENTRY),
            ({"id": 1, "file_name": "no.png"}, Fault.MISSING_IMAGE),
            ({"id": 1, "file_name": "../../secret.png"}, Fault.OUTSIDE),
            ({"id": 3, "file_name": "images/b.png"}, Fault.LISTED_TWICE),
        ],
    )
    def test_a_bad_image_is_a_problem(self, root: Path, image: Any, fault: Fault) -> None:
        number = image["id"] if isinstance(image, dict) else 1
        dataset = self.write(
            root,
            self.annotation("two", 1, [rectangle_outline(ARTERY)]),
            self.annotation(number, 1, [rectangle_outline(ARTERY)]),
            images=[self.images()[1], image],
        )
        assert [s.name for s in dataset.samples] == ["images/b.png"]
        assert fault in {problem.fault for problem in dataset.problems}

    @pytest.mark.parametrize(
        "categories",
        [[{}], [{"id": 1}], [{"id": 1, "name": "nan"}], [*CATEGORIES, CATEGORIES[0]], [{"id": 1.5, "name": "a"}]],
    )
    def test_categories_that_cannot_be_told_apart(self, root: Path, categories: Any) -> None:
        with pytest.raises(DataError, match=r"instances\.json: category"):
            self.write(root, categories=categories)

    ANY = st.recursive(
        st.none() | st.booleans() | st.integers(-2, 30) | st.text(max_size=3),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.sampled_from(["id", "name", "image_id", "size", "counts", "file_name"]), inner)
        ),
        max_leaves=6,
    )

    @settings(deadline=None, max_examples=60)
    @given(
        images=st.lists(ANY | st.fixed_dictionaries({"id": ANY, "file_name": st.just("a.png")}), max_size=3),
        annotations=st.lists(
            st.fixed_dictionaries({"image_id": ANY, "category_id": st.just(1), "segmentation": ANY}) | ANY, max_size=3
        ),
    )
    def test_anything_gives_samples_problems_or_a_data_error(
        self, tmp_path_factory: pytest.TempPathFactory, images: Any, annotations: Any
    ) -> None:
        root = tmp_path_factory.mktemp("set")
        save(root / "images" / "a.png", picture(0))
        content = {"images": images, "annotations": annotations, "categories": CATEGORIES}
        (root / "instances.json").write_text(json.dumps(content))
        try:
            dataset = open_dataset(root)
        except DataError:
            return
        assert dataset.samples or dataset.problems
