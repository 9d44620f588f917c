"""What the report says of two models on the same images: which is better, by measures of either direction."""

import pandas as pd
import pytest
from scipy.stats import wilcoxon

from tune_sa2va.report.test_part import MEASURES, compare, compare_values, paired

HIGHER = {"dice": True, "iou": True, "recall": True, "precision": True, "cl_dice": True}
LOWER = {"hd95_px": False, "betti_error": False}
RISING = [0.1 + number / 50 for number in range(20)]


@pytest.mark.parametrize("measure", MEASURES, ids=lambda measure: measure.column)
def test_better_is_higher_or_lower_as_the_measure_says(measure) -> None:
    assert measure.higher_is_better is (HIGHER | LOWER)[measure.column]
    more = [value + 0.02 + value / 100 for value in RISING]
    found = [compare_values(measure, "recipe", *pair).verdict for pair in ((more, RISING), (RISING, more))]
    assert found == (["better", "worse"] if measure.higher_is_better else ["worse", "better"])
    same = compare_values(measure, "recipe", RISING, RISING)
    assert (same.verdict, same.p_value, same.difference.mean) == ("tie", 1.0, 0.0)


def test_the_winner_comes_first_and_images_are_paired_by_what_they_are() -> None:
    def row(name: str, image: str, tp: int) -> dict[str, object]:
        return {"row": name, "image_code": image, "text": "vessel", "dice": tp / 10, "iou": tp / 20, "recall": 0.5,
                "precision": 0.5, "cl_dice": 0.5, "hd95_px": 3.0, "betti_error": 1.0}  # fmt: skip

    images = [f"i{number}" for number in range(10)]
    rows = [row("winner", image, number + 1) for number, image in enumerate(images)]
    rows += [row("recipe", image, number) for number, image in reversed(list(enumerate(images)))]
    scores = pd.DataFrame(rows)
    assert (paired(scores, "recipe")["dice_winner"] - paired(scores, "recipe")["dice_other"]).tolist() == pytest.approx(
        [0.1] * 10
    )
    dice = compare(scores, "recipe")[0]
    assert dice.difference.mean == pytest.approx(0.1) and dice.verdict == "better"
    assert dice.p_value == pytest.approx(wilcoxon([0.1] * 10).pvalue) and dice.test_agrees
    assert compare(scores, "untuned base") == []
