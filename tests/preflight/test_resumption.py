"""A search resumes only with the content it started with: changed content under the same names is refused."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.data.making import picture, rectangle_mask, save
from tests.report import making
from tune_sa2va.config import ModelSettings
from tune_sa2va.data import fingerprint, open_dataset
from tune_sa2va.data.known_images import CONTENT_FILE
from tune_sa2va.data.split_file import NAMES_FILE, write_split
from tune_sa2va.errors import CheckpointError, DataError, ResultsError, UserError
from tune_sa2va.model.locate import model_folder
from tune_sa2va.preflight.resumption import examine_results
from tune_sa2va.results.environment import write_environment
from tune_sa2va.results.records import RunRecords
from tune_sa2va.results.settings import SearchSettings


@pytest.fixture
def search(tmp_path: Path) -> SearchSettings:
    """A search that was interrupted before its first trial, on nine images, with a base model of its own."""
    base, folder = tmp_path / "base", tmp_path / "run"
    shutil.copytree(model_folder("tiny"), base)
    samples = making.data_set(tmp_path / "data")
    model = ModelSettings(model=str(base), precision="fp32")
    settings = making.settings(folder, tmp_path / "data", model=model)
    write_split(folder, samples)
    write_environment(folder, model=str(base), model_folder=base, data_fingerprint=fingerprint(samples))
    RunRecords.open(folder)
    return settings


def images(search: SearchSettings) -> list[Path]:
    return [sample.image for sample in open_dataset(search.data.source).samples]


def other_images(search: SearchSettings) -> None:
    for image in images(search)[:4]:
        save(image, picture(99, (40, 48)))


def other_mask(search: SearchSettings) -> None:
    image = images(search)[2]
    save(image.parents[1] / "masks" / image.name, rectangle_mask((0, 0, 9, 9), (40, 48)))


def other_base(search: SearchSettings) -> None:
    weights = Path(search.model.model) / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)


def without_content(change: Callable[[SearchSettings], None]) -> Callable[[SearchSettings], None]:
    """A results folder as an older tune_sa2va left it."""

    def both(search: SearchSettings) -> None:
        (search.folder / CONTENT_FILE).unlink()
        change(search)

    return both


def with_content_damaged(change: Callable[[SearchSettings], None]) -> Callable[[SearchSettings], None]:
    def both(search: SearchSettings) -> None:
        (search.folder / CONTENT_FILE).write_bytes(b"PAR1")
        change(search)

    return both


def other_data_and_no_names(search: SearchSettings) -> None:
    (search.folder / NAMES_FILE).unlink()
    other_images(search)


def without_inherited(search: SearchSettings) -> None:
    search.model_copy(update={"warm_start": search.folder}).save(search.folder)


def test_nothing_has_changed(search: SearchSettings) -> None:
    examine_results(search)
    (search.folder / CONTENT_FILE).unlink()
    examine_results(search)


@pytest.mark.parametrize(
    ("change", "error", "said"),
    [
        (other_images, DataError, r"4 images \((images/\S+, ){3}\.\.\.\) changed since the search"),
        (other_mask, DataError, r"data: 1 mask \(images/LiWei2\S+\) changed"),
        (
            lambda search: (other_images(search), other_mask(search)),
            DataError,
            r"4 images \(.+, \.\.\.\) and 1 mask \(.+\) changed",
        ),
        (other_base, CheckpointError, r"not the base model that the search started with .+model\.safetensors differ"),
        (without_content(other_images), DataError, r"4 images \(images/"),
        (without_content(other_mask), DataError, r"some masks are not those"),
        (with_content_damaged(other_images), DataError, r"4 images \(images/"),
        (with_content_damaged(other_mask), DataError, r"some masks are not those"),
        (other_data_and_no_names, DataError, r"names.parquet: cannot be read"),
        (without_inherited, ResultsError, r"inherited.json: is missing"),
        (lambda search: (search.folder / "environment.json").write_text("{"), ResultsError, "environment.json: cannot"),
    ],
)
def test_what_has_changed_is_named_in_one_sentence(
    search: SearchSettings, change: Callable[[SearchSettings], None], error: type[UserError], said: str
) -> None:
    change(search)
    with pytest.raises(error, match=said) as caught:
        examine_results(SearchSettings.load(search.folder))
    assert "\n" not in str(caught.value)
