"""Faults that the pixels of a picture show."""

from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from tune_sa2va.data import Fault, check, open_dataset
from tune_sa2va.data.looks import ALIKE_FROM, faults_of, look_at

from .making import rectangle_mask, save

SIDE = 96


def scene(seed: int, low: float = 0, high: float = 255) -> np.ndarray:
    """A smooth RGB picture from `low` to `high`."""
    grey = gaussian_filter(np.random.default_rng(seed).normal(size=(SIDE, SIDE)), 3)
    grey = (grey - grey.min()) / np.ptp(grey)
    return np.repeat(np.rint(low + grey * (high - low)).astype(np.uint8)[..., None], 3, axis=2)


def told(pixels: np.ndarray) -> list[Fault]:
    return [fault for fault, _ in faults_of(look_at(pixels))]


def test_a_picture_is_sound() -> None:
    assert told(scene(0)) == []


@pytest.mark.parametrize("value", [0, 7, 255])
def test_one_value_is_an_error(value: int) -> None:
    assert told(np.full((SIDE, SIDE, 3), value, np.uint8)) == [Fault.FLAT_PICTURE]
    [(_, message)] = faults_of(look_at(np.full((4, 4, 3), value, np.uint8)))
    assert f"the value {value} of 255" in message and "alpha channel" in message


def test_one_bright_pixel_does_not_hide_that_the_rest_is_faint() -> None:
    faint = scene(0, 130, 139)
    faint[0, 0] = 255
    assert told(faint) == [Fault.FAINT_PICTURE]


@pytest.mark.parametrize(("high", "faults"), [(20, [Fault.FAINT_PICTURE]), (60, [])])
def test_the_limit_of_contrast(high: int, faults: list[Fault]) -> None:
    assert told(scene(0, 0, high)) == faults


def test_few_levels() -> None:
    assert told(scene(0) // 128 * 128) == [Fault.FEW_LEVELS]
    assert told(scene(0)[:40] // 128 * 128) == []  # too small to tell


def test_noise_across_or_down_alone() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 1), dtype=np.uint8).repeat(3, axis=2)
    assert told(noise) == [Fault.NOISE]
    rows_of_noise = np.repeat(noise[:, :1], SIDE, axis=1)
    assert told(rows_of_noise) == [Fault.NOISE]


def test_likeness_holds_over_exposure_and_noise_and_not_over_pictures() -> None:
    def likeness(first: np.ndarray, second: np.ndarray) -> float:
        return float(look_at(first).sketch.astype(np.float32) @ look_at(second).sketch.astype(np.float32))

    one = scene(0)
    noisy = np.clip(one * 0.8 + 10 + np.random.default_rng(0).normal(0, 8, one.shape), 0, 255).astype(np.uint8)
    assert likeness(one, one) == pytest.approx(1.0, abs=1e-2)
    assert likeness(one, noisy) > ALIKE_FROM
    assert abs(likeness(one, scene(1))) < 0.5


def test_check_leaves_flat_pictures_out_and_keeps_faint_ones(tmp_path: Path) -> None:
    for name, pixels in {"flat": np.full((SIDE, SIDE, 3), 9, np.uint8), "faint": scene(0, 130, 139)}.items():
        save(tmp_path / "images" / f"{name}.png", pixels)
        save(tmp_path / "masks" / f"{name}.png", rectangle_mask((5, 5, 20, 20), (SIDE, SIDE)))
    report = check(open_dataset(tmp_path))
    assert [problem.fault for problem in report.problems] == [Fault.FLAT_PICTURE, Fault.FAINT_PICTURE]
    assert [sample.name for sample in report.samples] == ["images/faint.png"]
