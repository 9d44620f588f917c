"""The verdict on the test part: computed from the file, so that it is the same wherever it is shown."""

import dataclasses
from pathlib import Path
from typing import ClassVar

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tune_sa2va.errors import UserError
from tune_sa2va.evaluate.metrics import Counts
from tune_sa2va.results.test_scores import RECIPE, SCORES_FILE, UNTUNED, WINNER, mask_name, read_locked_part


def write_scores(folder: Path, tp: dict[str, list[int]], groups: list[str], *, openings: int = 1) -> None:
    """tp: row -> true positives of each image with 100 vessel pixels. There are no false positives."""
    rows = [
        {"row": row, "checkpoint": f"{row}, epoch 1", "image_code": f"img-{place}", "group_code": group,
         "text": "vessel", "threshold": 0.5, "cl_dice": 0.5, "hd95_px": 100.0 - found, "betti_error": 1.0}
        | dataclasses.asdict(Counts(tp=found, fp=0, fn=100 - found, tn=900))
        for row, values in tp.items() for place, (found, group) in enumerate(zip(values, groups, strict=True))
    ]  # fmt: skip
    table = pa.Table.from_pylist(rows).replace_schema_metadata({"openings": str(openings)})
    pq.write_table(table, folder / "test_scores.parquet")


def test_the_group_is_the_unit(tmp_path: Path) -> None:
    tp = {UNTUNED: [50] * 12, "winner": [60 + i for i in range(12)]}
    write_scores(tmp_path, tp, [f"grp-{i}" for i in range(12)])
    alone = read_locked_part(tmp_path)
    write_scores(tmp_path, tp, [f"grp-{i % 4}" for i in range(12)], openings=3)
    of_four = read_locked_part(tmp_path)
    assert alone is not None and of_four is not None
    assert alone.verdict == (
        "The winner is better than the untuned base by Dice (paired, 12 patients or other groups)."
    )
    assert of_four.verdict == (
        "Too few patients to say whether the winner is better than the untuned base: 4, and it takes 6."
    )
    assert (alone.opened, of_four.opened) == ("once", "3 times in all")
    assert alone.means["winner"]["dice"].mean == of_four.means["winner"]["dice"].mean
    assert (alone.means["winner"]["dice"].num_groups, of_four.means["winner"]["dice"].num_groups) == (12, 4)


def test_where_lower_is_better_the_word_turns(tmp_path: Path) -> None:
    tp = {RECIPE: [50 + i for i in range(8)], "winner": [70 + 2 * i for i in range(8)]}
    write_scores(tmp_path, tp, [f"grp-{i}" for i in range(8)])
    locked = read_locked_part(tmp_path)
    assert locked is not None
    found = locked.against(RECIPE)
    assert found["hd95_px"].difference.mean < 0 and found["hd95_px"].word == "better"
    assert (found["dice"].word, found["betti_error"].word) == ("better", "tie")
    assert locked.against(UNTUNED) == {}


def test_nothing_scored_and_damage(tmp_path: Path) -> None:
    assert read_locked_part(tmp_path) is None
    (tmp_path / "test_scores.parquet").write_bytes(b"no table")
    with pytest.raises(UserError, match="cannot be read"):
        read_locked_part(tmp_path)


def _rows(row: str, found: dict[tuple[str, str], tuple[int, int, int]]) -> list[dict[str, object]]:
    """found: (image, text) -> TP, FP, FN."""
    return [
        {
            **{"row": row, "checkpoint": row, "image_code": image, "group_code": f"grp-{image}", "text": text},
            **{"threshold": 0.5, "tp": tp, "fp": fp, "fn": fn, "tn": 10},
            **{"cl_dice": float("nan"), "hd95_px": float("nan"), "betti_error": 0.0},
        }
        for (image, text), (tp, fp, fn) in found.items()
    ]


class TestTexts:
    WINNER_FOUND: ClassVar = {
        ("a", "artery"): (4, 0, 0),
        ("b", "artery"): (4, 0, 0),
        ("c", "artery"): (4, 0, 0),
        ("a", "vein"): (0, 0, 4),
        ("b", "vein"): (0, 0, 0),
        ("c", "vein"): (0, 3, 0),
    }

    def test_each_text_weighs_the_same_and_has_its_row(self, tmp_path: Path) -> None:
        found = {key: value for key, value in self.WINNER_FOUND.items() if key != ("b", "artery")}
        pq.write_table(pa.Table.from_pylist(_rows(WINNER, found)), tmp_path / SCORES_FILE)
        locked = read_locked_part(tmp_path)
        assert locked is not None
        artery, vein = locked.of_texts[WINNER].values()
        assert (artery.means["dice"].mean, vein.means["dice"].mean) == pytest.approx((1.0, 1 / 3))
        assert locked.means[WINNER]["dice"].mean == pytest.approx((1 + 1 / 3) / 2)
        assert (vein.num_images, vein.num_absent, vein.num_false_alarms) == (3, 2, 1)
        assert (artery.absent_in_words, vein.absent_in_words) == ("", "2 of 3 (1 false alarm)")

    def test_one_text_that_is_everywhere_has_no_rows_of_its_own(self, tmp_path: Path) -> None:
        found = {key: value for key, value in self.WINNER_FOUND.items() if key[1] == "artery"}
        pq.write_table(pa.Table.from_pylist(_rows(WINNER, found)), tmp_path / SCORES_FILE)
        locked = read_locked_part(tmp_path)
        assert locked is not None and locked.of_texts == {}


def test_masks_of_several_texts_are_files_of_their_own() -> None:
    assert mask_name("img-1", "vein", ["vein"]) == "img-1.png"
    names = {mask_name("img-1", text, ["vein", "artery"]) for text in ("artery", "vein")}
    assert names == {"img-1-1.png", "img-1-2.png"}
