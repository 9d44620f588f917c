"""InternLM2 against plain arithmetic on the checkpoint's tensors, which shares no code with the model."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor

from tests.model.families.small import INTERN_VIT, INTERNLM2, internvl, write_checkpoint
from tune_sa2va.config import LoraSettings
from tune_sa2va.errors import UserError
from tune_sa2va.model.families import Family
from tune_sa2va.model.fused_layers import FusedLayers
from tune_sa2va.model.lora import TrialAdapters
from tune_sa2va.model.sa2va import Sa2VA

HEADS, GROUPS, WIDTH = 8, 2, 64
HEAD = WIDTH // HEADS
Checkpoint = tuple[Sa2VA, dict[str, Tensor]]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    folder: Path = tmp_path_factory.mktemp("internlm2")
    model = write_checkpoint(folder, internvl(INTERNLM2, INTERN_VIT))
    return model, load_file(folder / "model.safetensors")


def norm(x: Tensor, weight: Tensor) -> Tensor:
    return weight * x / torch.sqrt((x * x).mean(-1, keepdim=True) + 1e-5)


def rotate(x: Tensor, position: int, base: float) -> Tensor:
    """Rotates one head's vector pair by pair: element i with element i + half."""
    half = HEAD // 2
    turned = x.clone()
    for i in range(half):
        angle = torch.tensor(position * base ** (-2 * i / HEAD))
        turned[i] = x[i] * angle.cos() - x[i + half] * angle.sin()
        turned[i + half] = x[i + half] * angle.cos() + x[i] * angle.sin()
    return turned


def attention(x: Tensor, wqkv: Tensor, wo: Tensor, base: float) -> Tensor:
    """Token by token, head by head. Of each group's rows the first four heads are queries, then key, then value."""
    rows = wqkv.view(GROUPS, HEADS // GROUPS + 2, HEAD, WIDTH)
    out = torch.zeros_like(x)
    for head in range(HEADS):
        group, place = divmod(head, HEADS // GROUPS)
        queries = [rotate(rows[group, place] @ token, t, base) for t, token in enumerate(x)]
        keys = [rotate(rows[group, -2] @ token, t, base) for t, token in enumerate(x)]
        values = [rows[group, -1] @ token for token in x]
        for t in range(len(x)):
            scores = torch.stack([queries[t] @ keys[s] for s in range(t + 1)]) / HEAD**0.5
            mixed = (scores.softmax(0)[:, None] * torch.stack(values[: t + 1])).sum(0)
            out[t] += wo[:, head * HEAD : (head + 1) * HEAD] @ mixed
    return out


def forward(weights: dict[str, Tensor], ids: Tensor, *, base: float = 1000.0) -> tuple[Tensor, Tensor]:
    """Hidden states after the final norm, and logits."""
    x = weights["language_model.model.tok_embeddings.weight"][ids]
    for layer in range(2):
        part = {
            name.split(f"layers.{layer}.")[1]: tensor
            for name, tensor in weights.items()
            if name.startswith(f"language_model.model.layers.{layer}.")
        }
        normed = norm(x, part["attention_norm.weight"])
        x = x + attention(normed, part["attention.wqkv.weight"], part["attention.wo.weight"], base)
        normed = norm(x, part["ffn_norm.weight"])
        gated = F.silu(normed @ part["feed_forward.w1.weight"].T) * (normed @ part["feed_forward.w3.weight"].T)
        x = x + gated @ part["feed_forward.w2.weight"].T
    hidden = norm(x, weights["language_model.model.norm.weight"])
    return hidden, hidden @ weights["language_model.output.weight"].T


def run(model: Sa2VA, ids: Tensor) -> Tensor:
    return model.hidden_states(model.language_model.get_input_embeddings()(ids[None]))


def test_the_forward_is_the_arithmetic(checkpoint: Checkpoint) -> None:
    model, weights = checkpoint
    assert model.dims.family is Family.INTERNVL_INTERNLM2
    ids = torch.randint(700, (9,), generator=torch.Generator().manual_seed(1))
    hidden, scores = forward(weights, ids)
    torch.testing.assert_close(run(model, ids)[0], hidden, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(model.logits(run(model, ids))[0], scores, rtol=1e-4, atol=1e-5)


def test_beyond_the_trained_length_the_base_grows(checkpoint: Checkpoint) -> None:
    model, weights = checkpoint
    ids = torch.randint(700, (80,), generator=torch.Generator().manual_seed(2))
    base = 1000.0 * (3.0 * 80 / 64 - 2.0) ** (HEAD / (HEAD - 2))
    hidden, _ = forward(weights, ids, base=base)
    torch.testing.assert_close(run(model, ids)[0], hidden, rtol=1e-4, atol=2e-5)
    unscaled, _ = forward(weights, ids[:64])
    torch.testing.assert_close(run(model, ids[:64])[0], unscaled, rtol=1e-4, atol=2e-5)


def test_the_wrong_grouping_would_be_seen(checkpoint: Checkpoint) -> None:
    model, weights = checkpoint
    ids = torch.randint(700, (9,), generator=torch.Generator().manual_seed(1))
    key = "language_model.model.layers.0.attention.wqkv.weight"
    rows = weights[key].view(GROUPS, HEADS // GROUPS + 2, HEAD, WIDTH)
    by_kind = torch.cat([rows[:, :-2].flatten(0, 2), rows[:, -2].flatten(0, 1), rows[:, -1].flatten(0, 1)])
    hidden, _ = forward(weights | {key: by_kind}, ids)
    assert (run(model, ids)[0] - hidden).abs().max() > 0.01


def test_an_adapter_on_the_fused_projection_is_one_module_by_its_name_in_the_reference(checkpoint: Checkpoint) -> None:
    model, weights = checkpoint
    lora = LoraSettings(r=4, alpha_over_r=2, target_modules=("wqkv", "wo"))
    adapters = TrialAdapters(model, lora, (), seed=0)
    try:
        names = {name.removeprefix("base_model.model.").rpartition(".lora_")[0] for name in adapters.parameters}
        modules = {name.removesuffix(".weight") for name in weights if name.endswith(("wqkv.weight", "wo.weight"))}
        assert names == modules
        shapes = {
            name.split("lora_")[1][0]: tuple(p.shape) for name, p in adapters.parameters.items() if "wqkv" in name
        }
        assert shapes == {"A": (4, WIDTH), "B": ((HEADS + 2 * GROUPS) * HEAD, 4)}
    finally:
        adapters.detach()


def test_split_names_are_refused_and_the_fused_ones_offered(checkpoint: Checkpoint) -> None:
    with pytest.raises(UserError, match=r"'up_proj': no module's name in this Sa2VA ends with it.*wqkv"):
        TrialAdapters(checkpoint[0], LoraSettings(r=4, alpha_over_r=2, target_modules=("up_proj",)), (), seed=0)


def test_training_runs_the_fused_projection_with_its_adapter(checkpoint: Checkpoint) -> None:
    model, _ = checkpoint
    lora = LoraSettings(r=4, alpha_over_r=2, target_modules=("wqkv", "wo", "w1", "w2", "w3"))
    layers = FusedLayers(model, compiled=False)
    adapters = TrialAdapters(model, lora, (), seed=0)
    try:
        generator = torch.Generator().manual_seed(3)
        with torch.no_grad():
            for parameter in adapters.parameters.values():
                parameter.normal_(0, 0.1, generator=generator)
            adapters.store.refresh()
            embeds = torch.randn(1, 12, WIDTH, generator=generator)
            rows = torch.tensor([[11, 4]])
            found = layers.hidden_rows(embeds, rows, adapters.store)[0]
            wanted = model.hidden_states(embeds)[0, rows[0]]
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)
    finally:
        adapters.detach()
