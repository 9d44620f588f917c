"""Pictures with the outlines of their truths."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from tune_sa2va.data import open_dataset
from tune_sa2va.data.__main__ import app
from tune_sa2va.data.codes import group_codes, image_code
from tune_sa2va.data.overlays import outlined, write_overlays
from tune_sa2va.errors import UserError

from .making import rectangle_mask, rectangle_outline, save, save_pair, smooth_picture, write_json


def frames(root: Path, groups: str = "PPQ") -> Path:
    for number, group in enumerate(groups):
        save_pair(root, f"{group}_frame_{number}.png", number)
    return root


def test_files_are_called_by_codes_and_hold_the_outline(tmp_path: Path) -> None:
    samples = open_dataset(frames(tmp_path / "data")).samples
    write_overlays(samples, tmp_path / "out")
    singles = {path.stem: np.asarray(Image.open(path)) for path in (tmp_path / "out" / "images").iterdir()}
    assert set(singles) == {image_code(sample) for sample in samples}
    assert {path.stem for path in (tmp_path / "out" / "groups").iterdir()} == set(group_codes(samples).values())
    first = singles[image_code(samples[0])]
    around = rectangle_mask((1, 2, 11, 6)) & ~rectangle_mask((2, 3, 10, 5))
    assert (first[around] == (255, 80, 0)).all()
    assert np.array_equal(first[~around], outlined(samples[:1], {"blood vessel": np.zeros(3, np.uint8)})[~around])


def test_texts_of_one_picture_have_their_colours(tmp_path: Path) -> None:
    save(tmp_path / "images" / "a.png", smooth_picture(0))
    outlines = [rectangle_outline((2, 3, 10, 5)), rectangle_outline((40, 40, 50, 50))]
    write_json(
        tmp_path / "annotations.json",
        [{"image": "a.png", "mask": [[outline] for outline in outlines], "text": ["vein", "artery"]}],
    )
    write_overlays(open_dataset(tmp_path).samples, tmp_path / "out")
    [single] = (tmp_path / "out" / "images").iterdir()
    pixels = np.asarray(Image.open(single))
    assert pixels[39, 45].tolist() == [255, 80, 0]  # artery is the first of the texts
    assert pixels[2, 5].tolist() == [0, 200, 255]


def test_some_pictures_are_spread_over_the_groups(tmp_path: Path) -> None:
    samples = open_dataset(frames(tmp_path / "data", "AAAB")).samples
    write_overlays(samples, tmp_path / "out", limit=2)
    assert {path.stem for path in (tmp_path / "out" / "images").iterdir()} == {
        image_code(sample) for sample in samples if sample.name in ("images/A_frame_0.png", "images/B_frame_3.png")
    }


def test_a_large_group_has_several_sheets(tmp_path: Path) -> None:
    samples = open_dataset(frames(tmp_path / "data", "P" * 61)).samples
    write_overlays(samples, tmp_path / "out")
    sheets = {path.name: Image.open(path).size for path in (tmp_path / "out" / "groups").iterdir()}
    code = group_codes(samples)["P"]
    assert sheets == {f"{code}-1.png": (6 * 324 - 4, 10 * 324 - 4), f"{code}-2.png": (320, 320)}


def test_by_the_command(tmp_path: Path) -> None:
    line = ["check", str(frames(tmp_path / "data")), "--overlays", str(tmp_path / "out"), "--num-overlays", "1"]
    assert CliRunner().invoke(app, line).exit_code == 0
    assert len(list((tmp_path / "out" / "images").iterdir())) == 1
    with pytest.raises(UserError, match="exists already"):
        CliRunner().invoke(app, line, catch_exceptions=False)


def test_no_number_of_pictures(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--num-overlays"):
        write_overlays(open_dataset(frames(tmp_path / "data")).samples, tmp_path / "out", limit=0)
