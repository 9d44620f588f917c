"""Views are determined by seed, epoch and image, and stay within the ranges of their strength."""

import numpy as np
import pytest

from tune_sa2va.data.views import NUM_NUMBERS, view_in


def view(strength: float = 1.0, *, seed: int = 0, epoch: int = 1, image: str = "a", height: int = 40, width: int = 60):  # type: ignore[no-untyped-def]
    return view_in(strength, seed=seed, epoch=epoch, image=image, height=height, width=width)


def test_the_same_in_every_run_and_another_in_every_epoch() -> None:
    assert view().shape == (NUM_NUMBERS,) and view().dtype == np.float32
    assert np.array_equal(view(), view())
    for other in (view(epoch=2), view(seed=1), view(image="b")):
        assert not np.array_equal(view(), other)


def test_no_strength_changes_nothing() -> None:
    assert view(0.0).tolist() == [1, 0, 0, 0, 1, 0, 1, 0, 1, 0, 0]


def test_a_square_picture_is_mirrored_or_turned_and_hardly_more_at_a_small_strength() -> None:
    seen = set()
    for number in range(200):
        numbers = view(1e-6, image=str(number), height=50, width=50)
        matrix = numbers[:6].reshape(2, 3)
        assert np.abs(matrix - matrix.round()).max() < 1e-4 and np.abs(np.linalg.det(matrix[:, :2])) == pytest.approx(1)
        seen.add(tuple(matrix.round().astype(int).ravel().tolist()))
    assert len(seen) == 8


def test_a_small_turn_keeps_angles_in_pixels_however_wide_the_picture_is() -> None:
    """Two lines of the picture that are at right angles stay so but for the shear."""
    for number in range(50):
        matrix = view(1.0, image=str(number), height=100, width=400)[:6].reshape(2, 3)[:, :2].astype(float)
        in_pixels = np.diag([200.0, 50.0]) @ matrix @ np.linalg.inv(np.diag([200.0, 50.0]))
        if abs(in_pixels[0, 0]) > 0.5 and abs(in_pixels[1, 1]) > 0.5:  # no quarter turn, which is of the square
            one, other = in_pixels[:, 0], in_pixels[:, 1]
            cosine = one @ other / np.linalg.norm(one) / np.linalg.norm(other)
            assert abs(cosine) < 0.16


def test_numbers_grow_with_strength() -> None:
    spread = [np.std([view(s, image=str(n))[6:] for n in range(100)], axis=0) for s in (0.2, 1.0)]
    assert (spread[1] > 3 * spread[0]).all()
