"""The contract of every family: deterministic, well-typed, with something to ask for, and fast enough to feed a GPU."""

import time

import numpy as np
import pytest

from tune_sa2va.data.procedural import FAMILIES, PRETRAINING_FAMILIES, render

SIZE = 192


@pytest.fixture(scope="module", params=sorted(FAMILIES))
def family(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def scenes(family):
    return [render(family, seed, SIZE) for seed in range(24)]


def test_same_arguments_give_the_same_scene(family):
    first, second = render(family, 5, SIZE), render(family, 5, SIZE)
    assert np.array_equal(first.image, second.image)
    assert first.masks.keys() == second.masks.keys()
    assert all(np.array_equal(first.masks[text], second.masks[text]) for text in first.masks)


def test_other_seeds_give_other_scenes(family, scenes):
    assert not np.array_equal(scenes[0].image, scenes[1].image)


def test_families_share_no_randomness():
    images = [render(family, 0, SIZE).image for family in FAMILIES]
    assert all(not np.array_equal(images[0], other) for other in images[1:])


def test_images_are_uint8_rgb_with_some_contrast(scenes):
    for scene in scenes:
        assert scene.image.shape == (SIZE, SIZE, 3) and scene.image.dtype == np.uint8
        assert scene.image.std() > 0.5


def test_masks_are_boolean_and_never_empty(scenes):
    for scene in scenes:
        for text, mask in scene.masks.items():
            assert mask.shape == (SIZE, SIZE) and mask.dtype == np.bool_, text
            assert mask.any(), text


def test_most_scenes_can_be_asked_about_two_things(scenes):
    assert np.mean([len(scene.masks) >= 2 for scene in scenes]) >= 0.8


def test_foreground_share_is_that_of_vessels(family, scenes):
    shares = [scene.masks["blood vessel"].mean() for scene in scenes if "blood vessel" in scene.masks]
    assert len(shares) >= (6 if family == "shapes" else 20)
    assert 0.01 < np.mean(shares) < 0.15
    assert max(shares) < 0.3


def test_texts_differ_in_what_they_show(scenes):
    """In most scenes no two texts mean the same pixels, so that the text decides."""
    distinct = [len({mask.tobytes() for mask in scene.masks.values()}) >= 2 for scene in scenes]
    assert np.mean(distinct) >= 0.8


def test_a_scene_at_another_size_shows_the_same_share_of_vessel():
    large, small = render("fundus", 3, 384), render("fundus", 3, 192)
    assert large.image.shape == (384, 384, 3)
    assert 0.6 < large.masks["blood vessel"].mean() / small.masks["blood vessel"].mean() < 1.6


def test_rendering_feeds_a_gpu(family):
    render(family, 0)
    begin = time.process_time()
    for seed in range(6):
        render(family, seed)
    assert (time.process_time() - begin) / 6 < 0.3


def test_unknown_family_names_the_choices():
    with pytest.raises(ValueError, match="angiogram"):
        render("mammogram", 0)


def test_pretraining_families_exist():
    assert set(PRETRAINING_FAMILIES) <= set(FAMILIES)
