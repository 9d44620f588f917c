"""The fingerprint changes with the data and with nothing else."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tune_sa2va.data import Polygons, fingerprint, open_dataset, split_by_group
from tune_sa2va.errors import DataError

from .making import FORMS, picture, rectangle_mask, rectangle_outline, save, save_images


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "here"
    save_images(root)
    return FORMS["folder"](root)


def of(root: Path) -> str:
    return fingerprint(open_dataset(root).samples)


def test_independent_of_place_order_group_and_split(root: Path, tmp_path: Path) -> None:
    samples = open_dataset(root).samples
    shutil.copytree(root, tmp_path / "there")
    assert of(root) == of(tmp_path / "there")
    assert fingerprint(reversed(samples)) == of(root)
    assert fingerprint(split_by_group(samples, seed=0)) == of(root)
    assert len(of(root)) == 64


def other_pixels(root: Path) -> None:
    save(root / "images" / "alone.bmp", picture(9))


def other_mask(root: Path) -> None:
    save(root / "masks" / "alone.png", rectangle_mask((0, 0, 4, 23)))


def other_name(root: Path) -> None:
    for path in (root / "images" / "alone.bmp", root / "masks" / "alone.png"):
        path.rename(path.with_stem("alone2"))


def one_less(root: Path) -> None:
    (root / "images" / "alone.bmp").unlink()


@pytest.mark.parametrize("change", [other_pixels, other_mask, other_name, one_less])
def test_moves_with_the_data(root: Path, change: Callable[[Path], None]) -> None:
    before = of(root)
    change(root)
    assert of(root) != before


def test_moves_with_polygons_and_texts(root: Path) -> None:
    sample = open_dataset(root).samples[0]
    outline = tuple(map(float, rectangle_outline((2, 3, 10, 5))))
    variants = [
        sample,
        replace(sample, text="artery"),
        replace(sample, mask=Polygons(outlines=(outline,))),
        replace(sample, mask=Polygons(outlines=(outline[:-2],))),
        replace(sample, mask=Polygons(outlines=(outline[:4], outline[4:]))),
    ]
    assert len({fingerprint([variant]) for variant in variants}) == len(variants)
    whole = replace(sample, mask=Polygons(outlines=(tuple(map(int, outline)),)))
    assert fingerprint([whole]) == fingerprint([variants[2]])


def test_a_file_that_went_away(root: Path) -> None:
    samples = open_dataset(root).samples
    (root / "images" / "alone.bmp").unlink()
    with pytest.raises(DataError, match=r"alone\.bmp"):
        fingerprint(samples)
