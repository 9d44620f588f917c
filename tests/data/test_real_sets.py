"""The two real data sets that we develop on have no faults. They are beside the repository, not in it."""

from pathlib import Path

import pytest

from tune_sa2va.data import check, open_dataset, split_by_group

REAL = Path(__file__).parents[3] / "shared" / "data"


@pytest.mark.skipif(not REAL.is_dir(), reason=f"the real data sets are not at {REAL}")
@pytest.mark.parametrize(
    ("name", "num_images", "num_groups", "size_px"),
    [("coronary_cimat64", 64, 40, (300, 300)), ("hrf_fundus42", 42, 42, (512, 768))],
)
def test_checks_clean_and_splits(name: str, num_images: int, num_groups: int, size_px: tuple[int, int]) -> None:
    report = check(open_dataset(REAL / name))
    assert report.problems == ()
    assert (report.num_images, report.num_groups) == (num_images, num_groups)
    assert set(report.sizes_px) == {size_px}
    assert 0.03 < min(report.foreground) <= max(report.foreground) < 0.12
    split = split_by_group(report.samples, seed=0)
    shares = [sum(sample.split == part for sample in split) / len(split) for part in ("train", "val", "test")]
    assert shares == pytest.approx([0.70, 0.15, 0.15], abs=0.02)
