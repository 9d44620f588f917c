"""InternViT-6B's variant (query and key norms over all heads, RMS norms, no qkv bias) against plain arithmetic."""

from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor

from tests.model.families.small import INTERN_VIT_6B, INTERNLM2, internvl, write_checkpoint

HEADS, WIDTH = 4, 48


def norm(x: Tensor, weight: Tensor) -> Tensor:
    return weight * x / torch.sqrt((x * x).mean(-1, keepdim=True) + 1e-6)


def test_the_vision_tower_is_the_arithmetic(tmp_path: Path) -> None:
    model = write_checkpoint(tmp_path, internvl(INTERNLM2, INTERN_VIT_6B))
    weights = {
        name.removeprefix("vision_model."): tensor
        for name, tensor in load_file(tmp_path / "model.safetensors").items()
        if name.startswith("vision_model.")
    }
    assert "encoder.layers.0.attn.qkv.bias" not in weights
    tile = torch.randn(1, 3, 56, 56, generator=torch.Generator().manual_seed(1))
    patches = tile[0].unfold(1, 14, 14).unfold(2, 14, 14).permute(1, 2, 0, 3, 4).reshape(16, -1)
    kernel, bias = weights["embeddings.patch_embedding.weight"], weights["embeddings.patch_embedding.bias"]
    x = torch.cat((weights["embeddings.class_embedding"][0], patches @ kernel.flatten(1).T + bias))
    x = x + weights["embeddings.position_embedding"][0]
    for layer in range(2):
        part = {
            name.removeprefix(f"encoder.layers.{layer}."): tensor
            for name, tensor in weights.items()
            if name.startswith(f"encoder.layers.{layer}.")
        }
        x = x + part["ls1"] * attention(norm(x, part["norm1.weight"]), part)
        hidden = F.gelu(norm(x, part["norm2.weight"]) @ part["mlp.fc1.weight"].T + part["mlp.fc1.bias"])
        x = x + part["ls2"] * (hidden @ part["mlp.fc2.weight"].T + part["mlp.fc2.bias"])
    torch.testing.assert_close(model.vision_model(tile).last_hidden_state[0], x, rtol=1e-4, atol=1e-5)


def attention(x: Tensor, part: dict[str, Tensor]) -> Tensor:
    q, k, v = (x @ part["attn.qkv.weight"].T).chunk(3, dim=-1)
    q, k = norm(q, part["attn.q_norm.weight"]), norm(k, part["attn.k_norm.weight"])  # before heads are cut
    mixed = []
    for head in range(HEADS):
        cut = slice(head * WIDTH // HEADS, (head + 1) * WIDTH // HEADS)
        scores = q[:, cut] @ k[:, cut].T / (WIDTH // HEADS) ** 0.5
        mixed.append(scores.softmax(-1) @ v[:, cut])
    return torch.cat(mixed, dim=1) @ part["attn.proj.weight"].T + part["attn.proj.bias"]
