"""Greedy decoding: the reference's tokens, the values of a forward without a cache, and a state for each [SEG]."""

from pathlib import Path

import pytest
import torch

from tune_sa2va.config import LoraSettings
from tune_sa2va.model.adapter import load_adapter
from tune_sa2va.model.generate import greedy
from tune_sa2va.model.lora import TrialAdapters
from tune_sa2va.model.prompt import Prompter
from tune_sa2va.model.sa2va import ImageFeatures, Sa2VA
from tune_sa2va.parity.golden import Golden, read_golden
from tune_sa2va.parity.native import Sample, prepare


@pytest.fixture(scope="module")
def golden(golden_folder: Path) -> Golden:
    return read_golden(golden_folder)


@pytest.fixture(scope="module")
def prompter(golden_folder: Path) -> Prompter:
    return Prompter(golden_folder)


@pytest.fixture(scope="module")
def sample(golden: Golden) -> Sample:
    return prepare(golden)


@pytest.fixture(scope="module")
def features(model: Sa2VA, sample: Sample) -> ImageFeatures:
    with torch.no_grad():
        return model.encode_image(sample.encoder.pixel_values, sample.encoder.g_pixel_values, project_high_res=True)


def test_the_references_first_tokens(
    model: Sa2VA, golden: Golden, sample: Sample, features: ImageFeatures, prompter: Prompter
) -> None:
    written = greedy(model, sample.prompt, features.image_tokens, prompter=prompter, max_new_tokens=8, may_end=False)
    assert written.token_ids.tolist() == golden.outputs["greedy_first_8_ids"].tolist()
    assert not written.ended


def _hidden_without_cache(model: Sa2VA, sample: Sample, features: ImageFeatures, ids: torch.Tensor) -> torch.Tensor:
    whole = torch.cat((sample.prompt.input_ids[: sample.prompt.answer_start], ids))[None]
    with torch.no_grad():
        return model.hidden_states(model.embed_text(whole, features.image_tokens[None], sample.prompt.image_start))[0]


@pytest.mark.parametrize("adapted", [False, True])
def test_each_seg_has_the_hidden_state_of_a_whole_forward(
    model: Sa2VA, golden_folder: Path, sample: Sample, features: ImageFeatures, prompter: Prompter, adapted: bool
) -> None:
    """The head is changed so that the model writes [SEG], also as the very last token."""
    adapters = load_adapter(model, golden_folder / "adapter") if adapted else None
    head = model.language_model.lm_head
    before = head.weight.detach().clone()
    try:
        start = _hidden_without_cache(model, sample, features, torch.tensor([], dtype=torch.long))[-1]
        with torch.no_grad():
            head.weight[prompter.seg_id] = 100 * start
        written = greedy(model, sample.prompt, features.image_tokens, prompter=prompter, max_new_tokens=3)
        wanted = _hidden_without_cache(model, sample, features, written.token_ids)
    finally:
        with torch.no_grad():
            head.weight.copy_(before)
        if adapters is not None:
            adapters.detach()
    assert written.token_ids[0] == prompter.seg_id
    places = sample.prompt.answer_start + (written.token_ids == prompter.seg_id).nonzero()[:, 0]
    assert torch.allclose(written.seg_hidden, wanted[places], atol=1e-4)


def test_the_end_token_ends_and_is_left_out(
    model: Sa2VA, sample: Sample, features: ImageFeatures, prompter: Prompter
) -> None:
    head = model.language_model.lm_head
    before = head.weight.detach().clone()
    try:
        start = _hidden_without_cache(model, sample, features, torch.tensor([], dtype=torch.long))[-1]
        with torch.no_grad():
            head.weight[prompter.end_id] = 100 * start
        written = greedy(model, sample.prompt, features.image_tokens, prompter=prompter)
    finally:
        with torch.no_grad():
            head.weight.copy_(before)
    assert written.ended and len(written.token_ids) == 0 and len(written.seg_hidden) == 0


def test_an_adapter_changes_what_is_written(
    model: Sa2VA, sample: Sample, features: ImageFeatures, prompter: Prompter
) -> None:
    """Decoding runs the modules that hold the adapter: a large B in the last layer changes the tokens."""
    plain = greedy(model, sample.prompt, features.image_tokens, prompter=prompter, max_new_tokens=8, may_end=False)
    adapters = TrialAdapters(model, LoraSettings(r=2), (), seed=0)
    try:
        with torch.no_grad():
            for name, parameter in adapters.parameters.items():
                if "lora_B" in name:
                    parameter.normal_(0.0, 3.0, generator=torch.Generator().manual_seed(1))
        tuned = greedy(model, sample.prompt, features.image_tokens, prompter=prompter, max_new_tokens=8, may_end=False)
    finally:
        adapters.detach()
    assert tuned.token_ids.tolist() != plain.token_ids.tolist()
