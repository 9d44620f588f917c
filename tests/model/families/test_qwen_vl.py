"""Qwen2.5-VL and Qwen3-VL beyond what the parity command compares: positions, grids, decoding, the whole path.

`qwen2_5_vl_4_57_1.safetensors` holds what Qwen2_5_VLForConditionalGeneration of transformers 4.57.1 (eager attention,
fp32) made of `small.qwen2_5_vl()` with the weights of `small.write_checkpoint` and of the picture drawn below, which
its Pillow image processor cut (min_pixels 12,544, max_pixels 31,360).
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from tests.model.families.small import qwen2_5_vl, write_checkpoint
from tune_sa2va.model.checkpoint import load_model
from tune_sa2va.model.dims import Patching
from tune_sa2va.model.encoding import encode
from tune_sa2va.model.families.qwen_vl import positions
from tune_sa2va.model.generate import greedy
from tune_sa2va.model.patches import token_grid
from tune_sa2va.model.preprocess import encoder_inputs, num_image_tokens
from tune_sa2va.model.sa2va import Sa2VA
from tune_sa2va.parity.golden import read_golden
from tune_sa2va.parity.native import prepare

CPU = torch.device("cpu")
IMAGE_START = 3


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Sa2VA:
    return write_checkpoint(tmp_path_factory.mktemp("qwen2_5_vl"), qwen2_5_vl())


@pytest.fixture(scope="module")
def golden() -> dict[str, Tensor]:
    return load_file(Path(__file__).parent / "qwen2_5_vl_4_57_1.safetensors")


def picture() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (150, 220, 3), dtype=np.uint8)


def test_qwen2_5_vl_gives_the_numbers_of_the_transformers_that_the_reference_pins(
    small: Sa2VA, golden: dict[str, Tensor], tmp_path: Path
) -> None:
    parts = (small.vision_model, small.language_model)
    weights = sum(float(tensor.double().abs().sum()) for part in parts for tensor in part.state_dict().values())
    assert weights == pytest.approx(float(golden["weights_abs_sum"])), "other random numbers than the golden weights"
    limits = replace(small.dims.patching, min_pixels=12_544, max_pixels=31_360)
    dims = replace(small.dims, picture=limits)
    inputs = encoder_inputs(picture(), dims)
    assert inputs.grid == (5, 8)
    assert num_image_tokens(220, 150, dims) == 40
    assert torch.equal(inputs.pixel_values[::40], golden["pixel_rows"])
    features = small.encode_image(inputs.pixel_values, inputs.g_pixel_values, project_high_res=True, grid=inputs.grid)
    torch.testing.assert_close(features.image_tokens, golden["visual_embeds"], rtol=1e-4, atol=1e-4)
    embeds = small.embed_text(golden["ids"], features.image_tokens[None], IMAGE_START)
    hidden = small.hidden_states(embeds, features.context(IMAGE_START))
    torch.testing.assert_close(hidden, golden["hidden"], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(small.logits(hidden[:, -4:]), golden["logits"], rtol=1e-4, atol=1e-4)


def test_the_tower_sees_windows_and_the_text_sees_rows_and_columns(small: Sa2VA) -> None:
    """A transposed grid has the same number of tokens but other positions, so hidden states must differ."""
    dims = replace(small.dims, picture=replace(small.dims.patching, min_pixels=1, max_pixels=31_360))
    wide = encoder_inputs(picture(), dims)
    features = small.encode_image(wide.pixel_values, wide.g_pixel_values, project_high_res=True, grid=wide.grid)
    turned = replace(features, grid=(features.grid[1], features.grid[0]))
    embeds = small.embed_text(torch.zeros(1, 60, dtype=torch.long), features.image_tokens[None], IMAGE_START)
    upright = small.hidden_states(embeds, features.context(IMAGE_START))
    assert (small.hidden_states(embeds, turned.context(IMAGE_START)) - upright).abs().max() > 1e-3


def test_positions_of_a_sequence() -> None:
    got = positions(9, 2, (2, 2)).tolist()
    assert got == [
        [0, 1, 2, 2, 2, 2, 4, 5, 6],  # time
        [0, 1, 2, 2, 3, 3, 4, 5, 6],  # row
        [0, 1, 2, 3, 2, 3, 4, 5, 6],  # column; text goes on at 2 + max(2, 2)
    ]
    assert positions(8, 1, (1, 3))[:, 4:].tolist() == [[4, 5, 6, 7]] * 3


@pytest.mark.parametrize(
    ("size", "patch_size", "grid"),
    [
        ((512, 512), 16, (20, 20)),  # 262,144 pixels are under the 401,408 that the reference demands: 640 x 640
        ((512, 512), 14, (23, 23)),
        ((1024, 1024), 16, (32, 32)),
        ((4000, 3000), 16, (34, 45)),  # more than 1,605,632 pixels
        ((800, 600), 14, (21, 29)),
    ],
)
def test_grids_within_the_references_limits(size: tuple[int, int], patch_size: int, grid: tuple[int, int]) -> None:
    half = (0.5, 0.5, 0.5)
    patching = Patching(patch_size=patch_size, merge=2, temporal=2, mean=half, std=half)
    assert token_grid(*size, patching) == grid
    pixels = grid[0] * grid[1] * (2 * patch_size) ** 2
    assert patching.min_pixels <= pixels <= patching.max_pixels


def test_decoding_with_a_cache_writes_what_whole_forwards_write(qwen3_vl_folder: Path) -> None:
    golden = read_golden(qwen3_vl_folder)
    model = load_model(qwen3_vl_folder, device=CPU, dtype=torch.float32)
    sample = prepare(golden)
    inputs = sample.encoder
    with torch.no_grad():
        features = model.encode_image(
            inputs.pixel_values, inputs.g_pixel_values, project_high_res=True, grid=inputs.grid
        )
        start = sample.prompt.image_start
        context = features.context(start)
        written = greedy(
            model, sample.prompt, features.image_tokens, prompter=sample.prompter, context=context,
            max_new_tokens=6, may_end=False,
        )  # fmt: skip
        ids = sample.prompt.input_ids[: sample.prompt.answer_start]
        for token in written.token_ids:
            hidden = model.hidden_states(model.embed_text(ids[None], features.image_tokens[None], start), context)
            scores = model.logits(hidden[0, -1])
            scores[sample.prompter.end_id] = -torch.inf
            assert int(token) == int(scores.argmax())
            ids = torch.cat((ids, token[None]))


def test_encode_gives_grid_and_deepstack(qwen3_vl_folder: Path) -> None:
    model = load_model(qwen3_vl_folder, device=CPU, dtype=torch.float32)
    features = encode(model, np.zeros((300, 900, 3), np.uint8), raw_high_res=False)
    assert features.grid is not None
    assert len(features.image_tokens) == features.grid[0] * features.grid[1]
    assert features.deepstack is not None
    assert features.deepstack.shape == (2, len(features.image_tokens), 96)
