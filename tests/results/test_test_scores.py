"""The words on the test part: from the file, the same wherever they are shown."""

import dataclasses
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tune_sa2va.errors import UserError
from tune_sa2va.evaluate.metrics import Counts
from tune_sa2va.results.test_scores import RECIPE, UNTUNED, read_locked_part


def write_scores(folder: Path, tp: dict[str, list[int]], groups: list[str], *, openings: int = 1) -> None:
    """tp: row -> true positives of each image, of 100 vessel pixels; nothing is invented."""
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
