"""A plan uses a benchmark only if its card, model and image size match."""

import json
from pathlib import Path
from typing import Any

import pytest

from tune_sa2va.plan.pace import Pace
from tune_sa2va.plan.table import pace_from_tables

CASE = {
    "height": 512, "width": 512, "eager": False, "train_ms_per_image": 25.0, "val_ms_per_image": 8.0, "start_s": 0.4,
    "reserved_gib": 16.5,
}  # fmt: skip
CARD = "NVIDIA H200"


def of(tables: Path, **asked: Any) -> Pace | None:
    values = {"model": "8b", "precision": "bf16", "fp8_copies": 2, "seats": 1, "device": CARD, "sizes_px": [(512, 512)]}
    return pace_from_tables(tables, **(values | asked))


@pytest.fixture
def tables(tmp_path: Path) -> Path:
    def write(day: str, cases: list[dict[str, object]], **more: object) -> None:
        folder = tmp_path / f"{day}_h200"
        folder.mkdir()
        content = {"model": "8b", "hardware": {"device": CARD}, "seconds": {"load_model": 12.5}, "steps": cases}
        content |= more
        (folder / "step.json").write_text(json.dumps(content))

    write("2026-01-01", [CASE | {"train_ms_per_image": 99.0}])
    unlike = ({"eager": True}, {"fields": {"encoder.sam2": "all"}}, {"checkpointed": True}, {"dropout": 0.1})
    others = [CASE | {"train_ms_per_image": 50.0} | each for each in unlike]
    write("2026-02-01", [*others, CASE, CASE | {"height": 1024, "width": 1024}])
    write("2026-02-02", [CASE | {"seats": 4, "train_ms_per_image": 16.0, "val_ms_per_image": 6.0}], precision="bf16")
    write("2026-02-03", [CASE | {"train_ms_per_image": 20.0}], precision="fp8")
    (tmp_path / "2026-03-01_h200").mkdir()
    (tmp_path / "2026-03-01_h200" / "broken.json").write_text("{")
    return tmp_path


def test_the_newest_alike_is_taken(tables: Path) -> None:
    pace = of(tables, sizes_px=[(500, 520)] * 3)
    assert pace is not None
    assert (pace.train_s, pace.val_s, pace.start_s, pace.load_s) == (0.025, 0.008, 0.4, 12.5)
    assert "2026-02-01_h200/step.json" in pace.source and "512x512" in pace.source


@pytest.mark.parametrize(
    ("model", "device", "size"), [("8b", "NVIDIA A100", 512), ("tiny", CARD, 512), ("8b", CARD, 256)]
)
def test_another_card_model_or_size_is_not(tables: Path, model: str, device: str, size: int) -> None:
    assert of(tables, model=model, device=device, sizes_px=[(size, size)]) is None


def test_seats_and_precision_must_match(tables: Path) -> None:
    """Times are given for an image of each seat."""
    four, fp8 = of(tables, seats=4), of(tables, precision="fp8")
    assert four is not None and (four.train_s, four.val_s) == (0.064, 0.024)
    assert fp8 is not None and fp8.train_s == 0.020
    assert of(tables, seats=2) is None and of(tables, precision="fp32") is None


def test_no_tables_at_all(tmp_path: Path) -> None:
    assert of(tmp_path / "absent") is None
