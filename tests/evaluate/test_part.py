"""The scored part is the search's own, even if names, groups and masks of the files have changed since."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.data.making import grouped_set, rectangle_mask, save
from tests.evaluate.tuned_folder import a_tuned
from tune_sa2va.data import Sample, split_by_group
from tune_sa2va.data.codes import image_code
from tune_sa2va.data.known_images import KnownImages, read_content, write_content
from tune_sa2va.data.parts import cut_into_folds
from tune_sa2va.errors import UserError
from tune_sa2va.evaluate.part import Part, choose_part, validated_of
from tune_sa2va.evaluate.tuned import Tuned

GROUPS = ("a", "a", "b", "b", "c", "c", "d", "e", "f", "g")


@pytest.fixture
def searched(tmp_path: Path) -> tuple[Sample, ...]:
    return split_by_group(grouped_set(tmp_path / "data", GROUPS), (0.4, 0.3, 0.3), seed=1)


@pytest.fixture
def known(searched: tuple[Sample, ...], tmp_path: Path) -> KnownImages:
    write_content(tmp_path, searched)
    found = read_content(tmp_path)
    assert found is not None
    return found


def codes(samples: Any, part: str | None = None) -> set[str]:
    return {image_code(sample) for sample in samples if part in (None, sample.split)}


def part(samples: tuple[Sample, ...], known: KnownImages | None, asked: Any = None) -> Part:
    return choose_part(samples, a_tuned("f00"), known, asked, image_code)


def test_a_base_takes_the_parts_of_a_search_whose_trials_have_folds(tmp_path: Path) -> None:
    """A base was trained on nothing, so every image outside the test part can be validated on, without a warning."""
    samples = cut_into_folds(split_by_group(grouped_set(tmp_path / "data", GROUPS), (0.4, 0.3, 0.3), seed=1), 3, seed=1)
    write_content(tmp_path, samples)
    known = read_content(tmp_path)
    assert known is not None
    searched = {image_code(sample) for sample in samples if sample.split != "test"}
    found = choose_part(samples, None, known, "val", image_code)
    assert codes(found.samples) == codes(validated_of(samples, known)) == searched and not found.out_of_fold
    assert codes(choose_part(samples, None, known, None, image_code).samples) == codes(samples, "test")
    whole = choose_part(samples, None, known, "all", image_code)
    assert whole.note == f"Outside that search's test part: {len(searched)} of {len(samples)} images."


@pytest.mark.parametrize("asked", ["train", "val", "test"])
def test_other_groups_and_names_move_no_image_to_another_part(
    tmp_path: Path, searched: tuple[Sample, ...], known: KnownImages, asked: str
) -> None:
    """Groups decide a split: a new split by these groups would score images that were trained on as unseen."""
    edited = grouped_set(tmp_path / "edited", tuple("gfedcbabab"), names="other")
    again = split_by_group(edited, (0.4, 0.3, 0.3), seed=1)
    assert codes(again, asked) != codes(searched, asked), "the edit would show"
    found = part(edited, known, asked)
    assert (found.name, found.note) == (asked, "") and codes(found.samples) == codes(searched, asked)


def test_images_that_the_search_does_not_know_are_said_and_left_out(
    tmp_path: Path, searched: tuple[Sample, ...], known: KnownImages
) -> None:
    more = grouped_set(tmp_path / "more", (*GROUPS, "h", "i"))
    found = part(more, known)
    assert (found.name, codes(found.samples)) == ("test", codes(searched, "test"))
    new = [image_code(sample) for sample in more if image_code(sample) not in codes(searched)]
    assert found.note == (
        f"Left out: 2 images that the search does not know ({new[0]}, {new[1]}); --part all scores them, too."
    )


def test_images_that_are_gone_and_masks_that_were_redrawn_are_said(
    searched: tuple[Sample, ...], known: KnownImages
) -> None:
    first, *others = [sample for sample in searched if sample.split == "test"]
    assert isinstance(first.mask, Path)
    save(first.mask, rectangle_mask((0, 0, 3, 3)))
    found = part((first, *others[1:]), known)
    assert found.note == (
        f"Not here: 1 of the search's {len(others) + 1} test images. "
        f"Mask or text differs from the search's: 1 image ({image_code(first)})."
    )


def test_all_images_with_some_that_were_trained_on(searched: tuple[Sample, ...], known: KnownImages) -> None:
    found = part(searched, known, "all")
    seen = len(searched) - len(codes(searched, "test"))
    assert found.note.startswith(f"Trained or validated on in the search: {seen} of {len(searched)} images")
    assert part(tuple(sample for sample in searched if sample.split == "test"), known, "all").note == ""


@pytest.mark.parametrize(
    ("choose", "said"),
    [
        (lambda known: known, "none of these images is in it"),
        (lambda known: None, "an older tune_sa2va wrote it"),
    ],
)
def test_a_part_that_cannot_be_told(
    tmp_path: Path, known: KnownImages, choose: Callable[[KnownImages], KnownImages | None], said: str
) -> None:
    other = tuple(sample for sample in grouped_set(tmp_path / "twelve", tuple("abcdefghijkl")) if "11" in sample.name)
    with pytest.raises(UserError, match=said):
        part(other, choose(known), "test")
    assert (part(other, choose(known)).name, part(other, choose(known)).samples) == ("all", other)


@pytest.fixture
def in_folds(searched: tuple[Sample, ...], tmp_path: Path) -> tuple[tuple[Sample, ...], KnownImages]:
    samples = cut_into_folds(searched, 3, seed=0)
    write_content(tmp_path, samples)
    found = read_content(tmp_path)
    assert found is not None
    return samples, found


def folded(final: str, fold: int | None = None) -> Tuned:
    plain = a_tuned("f00")
    split = plain.split.model_copy(update={"folds": 3})
    return plain.model_copy(update={"final": final, "fold": fold, "split": split})


def test_val_of_an_ensemble_is_every_image_by_the_adapter_of_its_fold(
    in_folds: tuple[tuple[Sample, ...], KnownImages],
) -> None:
    samples, known = in_folds
    bare = [dataclasses.replace(sample, fold=None, split=None) for sample in samples]
    found = choose_part(bare, folded("ensemble"), known, "val", image_code)
    assert found.out_of_fold and found.name == "val"
    wanted = {image_code(sample): sample.fold for sample in samples if sample.split != "test"}
    assert {image_code(sample): sample.fold for sample in found.samples} == wanted
    assert set(wanted.values()) == {0, 1, 2}


def test_val_of_one_fold_s_adapter_is_its_own_fold(in_folds: tuple[tuple[Sample, ...], KnownImages]) -> None:
    samples, known = in_folds
    found = choose_part(samples, folded("best-run", 1), known, "val", image_code)
    assert codes(found.samples) == {image_code(sample) for sample in samples if sample.fold == 1}
    assert found.note == "The images of fold 1, which this adapter was not trained on."


@pytest.mark.parametrize("final", ["average", "refit"])
def test_an_adapter_that_has_seen_all_images_has_no_val(
    in_folds: tuple[tuple[Sample, ...], KnownImages], final: str
) -> None:
    samples, known = in_folds
    with pytest.raises(UserError, match=f"final {final}. has seen every image outside the test part.* out of fold is"):
        choose_part(samples, folded(final), known, "val", image_code)


def test_what_says_no_folds_has_no_val_of_them(searched: tuple[Sample, ...], known: KnownImages) -> None:
    with pytest.raises(UserError, match="does not record each image's fold"):
        choose_part(searched, folded("ensemble"), known, "val", image_code)
