"""Flips and turns: a turned mask fits its turned image; seed, epoch and image determine the variant."""

from collections import Counter

import numpy as np
import pytest

from tune_sa2va.data.variants import Variant, laid_out, variant_in, variants_of


def corner_picture() -> np.ndarray:
    """2 x 3 pixels, all different, three channels."""
    return np.arange(18, dtype=np.uint8).reshape(2, 3, 3)


def test_the_eight_variants_all_differ_and_keep_every_pixel() -> None:
    shown = [laid_out(corner_picture(), variant) for variant in Variant]
    assert len({(picture.shape, picture.tobytes()) for picture in shown}) == 8
    for picture in shown:
        assert sorted(map(tuple, picture.reshape(-1, 3))) == sorted(map(tuple, corner_picture().reshape(-1, 3)))


@pytest.mark.parametrize("variant", Variant)
def test_a_turned_mask_fits_its_turned_picture(variant: Variant) -> None:
    rng = np.random.default_rng(0)
    mask = rng.random((5, 8)) < 0.3
    picture = np.repeat((mask * 255).astype(np.uint8)[..., None], 3, axis=2)
    turned = laid_out(mask, variant)
    np.testing.assert_array_equal(laid_out(picture, variant)[..., 0] > 0, turned)
    assert turned.shape == ((8, 5) if variant.quarter_turns % 2 else (5, 8))


def test_variants_are_what_their_names_say() -> None:
    rows = np.array([[1, 2], [3, 4]])
    assert laid_out(rows, Variant.AS_IS).tolist() == [[1, 2], [3, 4]]
    assert laid_out(rows, Variant.MIRRORED).tolist() == [[2, 1], [4, 3]]
    assert laid_out(rows, Variant.MIRRORED_TURNED_180).tolist() == [[3, 4], [1, 2]]
    assert laid_out(rows, Variant.TURNED_90).tolist() == [[2, 4], [1, 3]]


def test_flips_alone_never_change_the_shape() -> None:
    assert {laid_out(corner_picture(), variant).shape for variant in variants_of("flips")} == {(2, 3, 3)}
    assert set(variants_of("none")) < set(variants_of("flips")) < set(variants_of("flips_turns")) == set(Variant)


def test_the_draw_is_fixed_by_seed_epoch_and_image_and_is_even() -> None:
    def draws(seed: int) -> list[Variant]:
        return [variant_in("flips_turns", seed=seed, epoch=e, image=f"{i}") for e in range(40) for i in range(100)]

    assert draws(0) == draws(0)
    assert draws(0) != draws(1)
    counts = Counter(draws(0))
    assert len(counts) == 8
    assert all(abs(count - 500) < 5 * 500**0.5 for count in counts.values())
    assert {variant_in("none", seed=s, epoch=1, image="a") for s in range(20)} == {Variant.AS_IS}
