"""Reasons of failures call images by codes, whatever the error quotes: paths, masks, groups, outlines."""

import re
import traceback
from pathlib import Path

import numpy as np
import pytest

from tune_sa2va.config import DataSettings
from tune_sa2va.data import Sample, open_dataset, split_by_group
from tune_sa2va.data.failure_words import FailureWords
from tune_sa2va.data.images import load_image
from tune_sa2va.data.split_file import find_samples, read_names, write_split
from tune_sa2va.data.truth import load_truth
from tune_sa2va.errors import DataError, DataGoneError

from .making import SHAPE, picture, rectangle_mask, save, save_pair, write_csv

PATIENTS = ("Wang Li", "Zhao\x1b[31mMin", "Chen_Yu")
SECRETS = ("Wang", "Li", "Zhao", "Min", "Chen", "_Yu", "study of", "\x1b")


@pytest.fixture
def data(tmp_path: Path) -> DataSettings:
    """Images and masks with different names, in folders named after patients, below a folder with a blank."""
    root, rows = tmp_path / "a study of Wang" / "cohort", []
    for seed, patient in enumerate(PATIENTS):
        image, mask = f"images/{patient}/{patient} 1.png", f"masks/{patient}/{patient}_drawn.png"
        save(root / image, picture(seed, SHAPE))
        save(root / mask, rectangle_mask((0, 0, 5, 5), SHAPE))
        rows.append({"image": image, "mask": mask, "group": patient})
    write_csv(root / "manifest.csv", rows, ("image", "mask", "group"))
    return DataSettings(source=str(root))


@pytest.fixture
def samples(data: DataSettings, tmp_path: Path) -> tuple[Sample, ...]:
    found = split_by_group(open_dataset(data.source).samples, seed=0)
    write_split(tmp_path, found)
    return found


def broken_image(sample: Sample) -> None:
    sample.image.write_bytes(b"no picture")
    load_image(sample.image)


def broken_mask(sample: Sample) -> None:
    Path(str(sample.mask)).write_bytes(b"no picture")
    load_truth(sample, *SHAPE)


def other_size(sample: Sample) -> None:
    load_truth(sample, 3, 4)


def gone_image(sample: Sample) -> None:
    sample.image.unlink()
    load_image(sample.image)


def gone_for_the_search(sample: Sample) -> None:
    sample.image.unlink()
    root = sample.image.parents[2]
    find_samples(read_names(root.parents[1]), DataSettings(source=str(root)))


def of_the_system(sample: Sample) -> None:
    sample.image.unlink()
    sample.image.stat()


@pytest.mark.parametrize(
    "fail", [broken_image, broken_mask, other_size, gone_image, gone_for_the_search, of_the_system]
)
def test_no_name_is_in_the_reason_nor_in_the_traceback(
    fail: object, data: DataSettings, samples: tuple[Sample, ...], tmp_path: Path
) -> None:
    names = read_names(tmp_path)
    for sample, row in zip(samples, names, strict=True):
        with pytest.raises((DataError, OSError)) as caught:
            fail(sample)  # type: ignore[operator]
        lines = "".join(traceback.format_exception(caught.value))
        for words in (FailureWords.of(names, data, samples), FailureWords.of(names, data)):
            said, told = words.sentence(str(caught.value)), words.traceback(lines)
            for secret in SECRETS:
                assert secret not in said, said
                assert secret not in told.replace("test_failure_words", ""), told
            assert "\n" not in said and told.count("\n") == lines.count("\n")
            assert f'File "{__file__}", line ' in told
        told = FailureWords.of(names, data, samples).sentence(str(caught.value))
        assert (row["image_code"] in told) or (fail is gone_for_the_search and "img-" in told), "the first that is gone"


def test_an_unknown_file_has_no_name(data: DataSettings, tmp_path: Path) -> None:
    words = FailureWords.of((), data)
    said = words.sentence(f"{tmp_path}/Sun Ba/Sun Ba_mask.PNG: cannot be read; nor can masks/Sun Ba.json.")
    assert "Ba" not in said and said.endswith("a file.PNG: cannot be read; nor can …/a file.json.")
    assert words.sentence("x/annotations.json: entry 3.") == "x/annotations.json: entry 3."


def test_a_failing_annotation(tmp_path: Path) -> None:
    root = tmp_path / "data"
    for seed, name in enumerate(("Wang Li 1", "Zhao 2", "Chen 3")):
        save_pair(root, f"{name}.png", seed, np.ones(SHAPE, dtype=bool))
    samples = split_by_group(open_dataset(root).samples, seed=0)
    write_split(tmp_path, samples)
    Path(str(samples[0].mask)).unlink()
    data = DataSettings(source=str(root))
    with pytest.raises(DataGoneError) as caught:
        find_samples(read_names(tmp_path), data)
    said = FailureWords.of(read_names(tmp_path), data).sentence(str(caught.value))
    assert samples[0].image.stem not in said and re.search("(img|grp)-[0-9a-f]{10} among them", said)
