"""Products and modules by seat equal those of each seat alone, with gradients."""

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor
from torch.func import functional_call

from tune_sa2va.model.checkpoint import load_model
from tune_sa2va.model.locate import model_folder
from tune_sa2va.model.sa2va import MaskOutput, Sa2VA
from tune_sa2va.model.seats import SeatedModule, per_image, scaled, seat_linear

SEATS, IMAGES = 3, 2


def drawn(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)))


def test_a_product_by_seat_is_each_seats_own() -> None:
    x, weight = drawn(SEATS * IMAGES, 5, 12).requires_grad_(), drawn(SEATS, 7, 12).requires_grad_()
    found = scaled(seat_linear(x, weight), torch.tensor([1.0, 0.5, 2.0]))
    wanted = torch.cat(
        [factor * rows @ own.T for rows, own, factor in zip(x.split(IMAGES), weight, (1, 0.5, 2), strict=True)]
    )
    torch.testing.assert_close(found, wanted)
    factor = drawn(*found.shape)
    ours, theirs = (torch.autograd.grad((y * factor).sum(), (x, weight)) for y in (found, wanted))
    torch.testing.assert_close(ours, theirs)
    assert ours[1].is_contiguous(), "or each would be copied before all are joined"


def test_numbers_of_seats_and_of_one_keep_the_dtype() -> None:
    x = drawn(4, 3).bfloat16()
    assert scaled(x, torch.tensor(0.3)).dtype == scaled(x, torch.tensor([0.3, 0.1])).dtype == torch.bfloat16
    assert per_image(torch.tensor([1.0, 2.0]), x).flatten().tolist() == [1, 1, 2, 2]


@pytest.fixture(params=[torch.float32, torch.bfloat16], ids=str)
def model(request: pytest.FixtureRequest) -> Iterator[Sa2VA]:
    yield load_model(model_folder("tiny"), device=torch.device("cpu"), dtype=request.param)


def test_a_mask_decoder_by_seat_is_each_seats_own(model: Sa2VA) -> None:
    """Also the layers that are called by themselves. In bf16 within its rounding: autocast differs between devices."""
    dtype, decoder, sam2 = model.no_mem_embed.dtype, model.sam_mask_decoder, model.dims.sam2
    own = {
        name: value.detach().float() + 0.01 * drawn(SEATS, *value.shape) for name, value in decoder.named_parameters()
    }
    side = sam2.embed_side
    inputs = [drawn(SEATS * IMAGES, sam2.d, times * side, times * side).to(dtype) for times in (1, 2, 4)]
    prompt = drawn(SEATS * IMAGES, sam2.d).to(dtype)

    def masks(*inputs: Tensor) -> MaskOutput:
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
            return model.decode_masks(*inputs)

    alone = []
    for seat in range(SEATS):
        rows = slice(seat * IMAGES, (seat + 1) * IMAGES)
        for name, value in own.items():
            owner, _, leaf = name.rpartition(".")
            setattr(decoder.get_submodule(owner), leaf, torch.nn.Parameter(value[seat]))
        with torch.no_grad():
            alone.append(masks(*(each[rows] for each in inputs), prompt[rows]).mask_logits)
    wanted = torch.cat(alone).float()
    model.sam_mask_decoder = SeatedModule(decoder, own, dtype)  # type: ignore[assignment]
    with torch.no_grad():
        found = masks(*inputs, prompt).mask_logits.float()
    tolerance = 1e-5 if dtype == torch.float32 else 3e-2
    assert (found - wanted).abs().max() < tolerance * wanted.abs().max()
    assert (wanted[:IMAGES] - wanted[IMAGES : 2 * IMAGES]).abs().max() > 0.1 * wanted.abs().max()


def test_the_modules_own_parameters_have_no_effect() -> None:
    linear = torch.nn.Linear(4, 4)
    own = {"weight": drawn(2, 4, 4), "bias": drawn(2, 4)}
    seated, x = SeatedModule(linear, own, torch.float32), drawn(2, 4)
    wanted = [
        functional_call(linear, {name: value[seat] for name, value in own.items()}, (x[seat],)) for seat in (0, 1)
    ]
    torch.testing.assert_close(seated(x), torch.stack(wanted))
    assert not linear._forward_pre_hooks
