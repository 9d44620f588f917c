"""The split as files: names are only in `names.parquet`, and codes are stable."""

import shutil
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tune_sa2va.config import DataSettings
from tune_sa2va.data import open_dataset, split_by_group
from tune_sa2va.data.codes import group_codes, image_code
from tune_sa2va.data.split_file import NAMES_FILE, SPLIT_FILE, read_names, read_split, write_split
from tune_sa2va.errors import DataError

from .making import FORMS, picture, save, save_images


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "here"
    save_images(root)
    return FORMS["folder"](root)


def test_written_and_read_back(root: Path, tmp_path: Path) -> None:
    samples = split_by_group(open_dataset(root).samples, seed=0)
    write_split(tmp_path, samples)
    assert read_split(tmp_path, DataSettings(source=str(root))) == samples


def test_names_are_in_one_file_only(root: Path, tmp_path: Path) -> None:
    samples = split_by_group(open_dataset(root).samples, seed=0)
    write_split(tmp_path, samples)
    shown = pq.read_table(tmp_path / SPLIT_FILE).to_pandas().to_csv()
    kept = pq.read_table(tmp_path / NAMES_FILE).to_pandas().to_csv()
    for sample in samples:
        assert Path(sample.name).stem not in shown and sample.group not in shown
        assert sample.name in kept
    assert {row["image_code"] for row in read_names(tmp_path)} == {image_code(sample) for sample in samples}


def test_codes_follow_the_content_and_not_the_name(root: Path, tmp_path: Path) -> None:
    samples = open_dataset(root).samples
    shutil.copytree(root, tmp_path / "there")
    moved = open_dataset(tmp_path / "there").samples
    assert [image_code(sample) for sample in samples] == [image_code(sample) for sample in moved]
    assert group_codes(samples) == group_codes(reversed(moved))
    assert len(set(group_codes(samples).values())) == len({sample.group for sample in samples})
    before = {sample.name: image_code(sample) for sample in samples}
    save(root / "images" / "alone.bmp", picture(9))
    changed = {s.name for s in samples if image_code(s) != before[s.name]}
    assert {Path(name).name for name in changed} == {"alone.bmp"}


def test_an_image_that_is_gone_is_named(root: Path, tmp_path: Path) -> None:
    samples = split_by_group(open_dataset(root).samples, seed=0)
    write_split(tmp_path, samples)
    (root / "images" / "alone.bmp").unlink()
    (root / "masks" / "alone.png").unlink()
    with pytest.raises(DataError, match=r"alone\.bmp"):
        read_split(tmp_path, DataSettings(source=str(root)))


def test_no_split_is_one_sentence(root: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"names\.parquet"):
        read_split(tmp_path, DataSettings(source=str(root)))


def test_a_part_that_is_none_is_named(root: Path, tmp_path: Path) -> None:
    samples = [replace(sample, split="elsewhere") for sample in open_dataset(root).samples]
    write_split(tmp_path, samples)
    with pytest.raises(DataError, match=r"names\.parquet: 'elsewhere' is not a part"):
        read_split(tmp_path, DataSettings(source=str(root)))
