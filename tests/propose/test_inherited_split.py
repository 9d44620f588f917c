"""A search with a warm start keeps the earlier search's parts, or reports which test images are not unseen."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.data.making import grouped_set
from tests.propose.test_warm_start import LR_AND_RANK, a_search, add
from tune_sa2va.data import Sample, split_by_group
from tune_sa2va.data.codes import image_code
from tune_sa2va.data.split_file import write_split
from tune_sa2va.errors import DataError
from tune_sa2va.preflight.data import examine_data
from tune_sa2va.propose.inherited_split import Overlap, openings, overlap, split_after
from tune_sa2va.propose.warm_start import Inherited, inherit, write_inherited
from tune_sa2va.results.settings import SearchSettings
from tune_sa2va.score.test_part import _read

RATIOS = (0.5, 0.25, 0.25)
GROUPS = tuple("aabbccddeeff")


def parts(samples: tuple[Sample, ...]) -> dict[str, Any]:
    return {image_code(sample): sample.split for sample in samples}


@pytest.fixture
def earlier(tmp_path: Path) -> Path:
    """Results of a search on twelve images of six patients."""
    folder = tmp_path / "old"
    a_search(folder, LR_AND_RANK)
    add(folder, {"lora.r": 8})
    write_split(folder, split_by_group(grouped_set(tmp_path / "data", GROUPS), RATIOS, seed=0))
    return folder


def known(earlier: Path, tmp_path: Path) -> dict[str, Any]:
    return parts(split_by_group(grouped_set(tmp_path / "data", GROUPS), RATIOS, seed=0))


def test_another_seed_moves_no_image_of_the_earlier_search(tmp_path: Path, earlier: Path) -> None:
    then, more = known(earlier, tmp_path), grouped_set(tmp_path / "more", (*GROUPS, *"ghij"), names="renamed")
    for seed in range(1, 9):
        now = parts(split_after(more, earlier, RATIOS, seed=seed))
        assert {code: now[code] for code in then} == then


def test_the_search_command_splits_so(tmp_path: Path, earlier: Path) -> None:
    settings = a_search(tmp_path / "new", LR_AND_RANK, warm_start=earlier)
    data = settings.data.model_copy(update={"source": str(tmp_path / "data"), "ratios": RATIOS, "split_seed": 5})
    warm = examine_data(settings.model_copy(update={"data": data}))[1]
    cold = examine_data(settings.model_copy(update={"data": data, "warm_start": None}))[1]
    assert parts(warm) == known(earlier, tmp_path) != parts(cold)


def test_a_group_that_was_in_two_parts_is_never_tested(tmp_path: Path, earlier: Path) -> None:
    """Groups have been edited since: one patient now has images that were trained on and images that were tested."""
    then, samples = known(earlier, tmp_path), grouped_set(tmp_path / "data", [str(number) for number in range(12)])
    mixed = [next(code for code in then if then[code] == part) for part in ("train", "test")]
    edited = tuple(replace(s, group="mixed") if image_code(s) in mixed else s for s in samples)
    for seed in range(4):
        now = parts(split_after(edited, earlier, RATIOS, seed=seed))
        assert now == then | {mixed[1]: "train"}


def test_splits_that_the_data_give_come_first(tmp_path: Path, earlier: Path) -> None:
    then, samples = known(earlier, tmp_path), grouped_set(tmp_path / "data", GROUPS)
    trained = next(sample.group for sample in samples if then[image_code(sample)] == "train")
    asked = tuple(replace(s, split="test") if s.group == trained else s for s in samples)
    now = split_after(asked, earlier, RATIOS, seed=0)
    assert {sample.split for sample in now if sample.group == trained} == {"test"}


def test_images_of_one_part_alone_are_split_as_without(tmp_path: Path, earlier: Path) -> None:
    then = known(earlier, tmp_path)
    trained = tuple(s for s in grouped_set(tmp_path / "data", GROUPS) if then[image_code(s)] == "train")
    assert split_after(trained, earlier, RATIOS, seed=4) == split_by_group(trained, RATIOS, seed=4)
    with pytest.raises(DataError, match="at least 3 groups"):
        split_after(trained[:2], earlier, RATIOS, seed=0)


def warm(tmp_path: Path, earlier: Path, samples: tuple[Sample, ...]) -> tuple[SearchSettings, Inherited]:
    """A results folder of a search that starts with these parts."""
    new = a_search(tmp_path / "new", LR_AND_RANK)
    write_split(tmp_path / "new", samples)
    inherited = inherit(new, earlier, tmp_path / "new")
    write_inherited(tmp_path / "new", inherited)
    return new, inherited


def scored(folder: Path, times: int) -> None:
    table = pa.table({"row": ["winner"]}).replace_schema_metadata({"openings": str(times)})
    pq.write_table(table, folder / "test_scores.parquet")


def test_openings_of_the_earlier_test_part_count(tmp_path: Path, earlier: Path) -> None:
    scored(earlier, 2)
    samples = split_after(grouped_set(tmp_path / "data", GROUPS), earlier, RATIOS, seed=7)
    new, inherited = warm(tmp_path, earlier, samples)
    assert inherited.test_openings == 2 and _read(new.folder)[1] == 2
    assert inherited.words.endswith(
        "Images of that search keep their parts. The test part has been scored 2 times before."
    )
    third = a_search(tmp_path / "third", LR_AND_RANK)
    add(new.folder, {"lora.r": 8})
    write_split(third.folder, samples)
    assert openings(new.folder) is None, "never scored itself"
    assert inherit(third, new.folder, third.folder).test_openings == 2


def test_a_test_part_that_was_trained_on_counts_as_opened(tmp_path: Path, earlier: Path) -> None:
    then, samples = known(earlier, tmp_path), grouped_set(tmp_path / "data", GROUPS)
    turn: dict[Any, Any] = {"train": "test", "test": "train", "val": "val"}
    turned = tuple(replace(sample, split=turn[then[image_code(sample)]]) for sample in samples)
    new, inherited = warm(tmp_path, earlier, turned)
    found = overlap(earlier, new.folder)
    moved = sum(part != "val" for part in then.values())
    assert found == Overlap(known=12, moved=moved, tested=6, seen=6, tested_again=0)
    assert inherited.test_openings == 1 and _read(new.folder)[1] == 1
    assert "trained or validated on 6 of the 6 test images, so the test part counts as opened." in (inherited.words)
    assert f"12 images of that search are used here, {found.moved} in another part." in inherited.words


def test_other_images_say_nothing(tmp_path: Path, earlier: Path) -> None:
    every = grouped_set(tmp_path / "other", "abcdefghijklmnopqr")
    other = tuple(sample for sample in every if image_code(sample) not in known(earlier, tmp_path))
    inherited = warm(tmp_path, earlier, split_by_group(other, RATIOS, seed=0))[1]
    assert (inherited.split_words, inherited.test_openings) == ("", 0)
