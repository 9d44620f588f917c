"""The figures' colours stand out on the light and dark page, and differ for every kind of colour vision."""

import itertools
import re
from pathlib import Path

import numpy as np

import tune_sa2va
from tune_sa2va.report import figure

COLOURS = [figure.BLUE, figure.ORANGE, figure.GREEN, figure.RED, figure.PURPLE, figure.GREY]
STYLE = (Path(tune_sa2va.__file__).parent / "report" / "assets" / "style.css").read_text(encoding="utf-8")
VISIONS = {
    "normal": np.eye(3),
    # Machado, Oliveira and Fernandes, IEEE TVCG 2009, severity 1, on linear RGB.
    "protanopia": np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216],
         [-0.003882, -0.048116, 1.051998]]
    ),
    "deuteranopia": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413],
         [-0.01182, 0.04294, 0.968881]]
    ),
    "tritanopia": np.array(
        [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602],
         [0.004733, 0.691367, 0.3039]]
    ),
}  # fmt: skip
NEAREST = 20.0
"""Delta E of CIE 1976: 2.3 is a just noticeable difference side by side; lines apart need many times that."""


def linear(colour: str) -> np.ndarray:
    value = np.array([int(colour[place : place + 2], 16) for place in (1, 3, 5)]) / 255
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)


def contrast(one: str, other: str) -> float:
    """WCAG 2.1"""
    low, high = sorted(float(linear(colour) @ [0.2126, 0.7152, 0.0722]) for colour in (one, other))
    return (high + 0.05) / (low + 0.05)


def lab(rgb: np.ndarray) -> np.ndarray:
    to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    xyz = to_xyz @ np.clip(rgb, 0, 1) / [0.9505, 1, 1.089]
    x, y, z = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def test_on_both_pages() -> None:
    pages = re.findall(r"--page: (#[0-9a-f]{6})", STYLE)
    assert len(pages) == 2
    assert all(contrast(colour, page) >= 3 for colour in COLOURS for page in pages)


def test_from_each_other() -> None:
    near = {
        (vision, *pair): round(float(np.linalg.norm(lab(matrix @ linear(pair[0])) - lab(matrix @ linear(pair[1])))))
        for vision, matrix in VISIONS.items()
        for pair in itertools.combinations(COLOURS, 2)
    }
    assert {pair: distance for pair, distance in near.items() if distance < NEAREST} == {}
