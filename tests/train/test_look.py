"""Views applied to pictures and masks: flips and quarter turns are exact, and both are moved together."""

import numpy as np
import pytest
import torch

from tune_sa2va.data.views import view_in
from tune_sa2va.train.look import seen_pictures, seen_tiles, seen_truth

NOISE = torch.randn_like
AS_IS = [1, 0, 0, 0, 1, 0, 1, 0, 1, 0, 0]
MIRRORED = [-1, 0, 0, 0, 1, 0, 1, 0, 1, 0, 0]
QUARTER_TURN = [0, -1, 0, 1, 0, 0, 1, 0, 1, 0, 0]
"""The new picture's right edge is the old one's bottom edge: counter-clockwise, with y pointing down."""


def views(*numbers: list[float]) -> torch.Tensor:
    return torch.tensor(numbers, dtype=torch.float32)


def picture(count: int = 1, height: int = 12, width: int = 12) -> torch.Tensor:
    return 0.1 + 0.8 * torch.rand(count, 3, height, width, generator=torch.Generator().manual_seed(0))


def test_as_it_is_mirrored_and_turned() -> None:
    pictures = picture(3)
    found = seen_pictures(pictures, views(AS_IS, MIRRORED, QUARTER_TURN), NOISE)
    wanted = torch.stack((pictures[0], pictures[1].flip(2), torch.rot90(pictures[2], 1, (1, 2))))
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)


def test_light() -> None:
    pictures = picture()
    brighter = seen_pictures(pictures, views([*AS_IS[:7], 0.05, 1, 0, 0]), NOISE)
    torch.testing.assert_close(brighter, (pictures + 0.05).clamp(0, 1), rtol=1e-4, atol=1e-4)
    flat = seen_pictures(pictures, views([*AS_IS[:6], 0.5, 0, 1, 0, 0]), NOISE)
    assert flat.std().item() == pytest.approx(0.5 * pictures.std().item(), rel=1e-3)
    assert flat.mean().item() == pytest.approx(pictures.mean().item(), rel=1e-3)
    dark = seen_pictures(pictures, views([*AS_IS[:8], 2, 0, 0]), NOISE)
    torch.testing.assert_close(dark, pictures**2, rtol=1e-4, atol=1e-4)


def test_a_blur_is_a_gaussian_and_noise_comes_from_the_seed() -> None:
    point = torch.zeros(1, 3, 15, 15)
    point[..., 7, 7] = 1
    blurred = seen_pictures(point, views([*AS_IS[:9], 1.0, 0]), NOISE)[0, 0]
    assert (blurred[7, 8] / blurred[7, 7]).item() == pytest.approx(np.exp(-0.5), rel=1e-2)
    noisy = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        noisy.append(seen_pictures(picture(), views([*AS_IS[:10], 0.05]), NOISE))
    assert torch.equal(noisy[0], noisy[1]) and not torch.equal(noisy[0], noisy[2])
    assert (noisy[0] - picture()).std().item() == pytest.approx(0.05, rel=0.1)


def test_the_mask_moves_with_the_picture_in_the_corner_of_its_canvas() -> None:
    """Each image turns within its own size; outside it no pixel is vessel."""
    generator = torch.Generator().manual_seed(0)
    truth, valid = torch.zeros(2, 16, 24, dtype=torch.bool), torch.zeros(2, 16, 24, dtype=torch.bool)
    sizes = [(10, 20), (16, 16)]
    for number, (height, width) in enumerate(sizes):
        truth[number, :height, :width] = torch.rand(height, width, generator=generator) < 0.4
        valid[number, :height, :width] = True
    found = seen_truth(truth, valid, views(MIRRORED, QUARTER_TURN))
    assert torch.equal(found[0, :10, :20], truth[0, :10, :20].flip(1)) and not found[0, 10:].any()
    assert torch.equal(found[1, :, :16], torch.rot90(truth[1, :, :16])) and not found[1, :, 16:].any()


def test_a_warped_mask_is_where_the_warped_picture_shows_it() -> None:
    truth = torch.zeros(1, 64, 64, dtype=torch.bool)
    truth[:, 20:44, 28:36] = True
    numbers = view_in(1.0, seed=0, epoch=3, image="x", height=64, width=64)
    numbers[6:] = [1, 0, 1, 0, 0]
    view = torch.from_numpy(numbers)[None]
    shown = seen_pictures(truth[:, None].expand(-1, 3, -1, -1).float(), view, NOISE)[:, 0] > 0.5
    found = seen_truth(truth, torch.ones_like(truth), view)
    assert (shown != found).sum() <= 2 and found.sum() > 100 and not torch.equal(found, truth)


def test_tiles_are_pieces_of_one_picture() -> None:
    whole = picture(2, 8, 12)
    tiles = whole.unflatten(3, (3, 4)).unflatten(2, (2, 4)).permute(0, 2, 4, 1, 3, 5).flatten(1, 2)
    thumbnail = picture(2, 4, 4)[:, None]
    view = views(MIRRORED, [*AS_IS[:7], 0.05, 1, 0, 0])
    found = seen_tiles(torch.cat((tiles, thumbnail), dim=1), (2, 3), view, NOISE)
    wanted = seen_pictures(whole, view, NOISE)
    again = wanted.unflatten(3, (3, 4)).unflatten(2, (2, 4)).permute(0, 2, 4, 1, 3, 5).flatten(1, 2)
    torch.testing.assert_close(found[:, :-1], again)
    torch.testing.assert_close(found[:, -1], seen_pictures(thumbnail[:, 0], view, NOISE))
