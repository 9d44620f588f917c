"""An adapter merged into a base of many shards: every key stays in its file, and changed weights are W + scale B A."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.model.conftest import REFERENCE
from tune_sa2va.config import RECIPE, EncoderSettings
from tune_sa2va.errors import CheckpointError
from tune_sa2va.export.merge import merge
from tune_sa2va.model.adapter import save_adapter
from tune_sa2va.model.checkpoint import load_model
from tune_sa2va.model.locate import model_folder
from tune_sa2va.model.lora import TrialAdapters
from tune_sa2va.model.lora_linear import LoraLinear
from tune_sa2va.model.sa2va import Sa2VA

CPU = torch.device("cpu")
INDEX = "model.safetensors.index.json"


def shard(base: Path, to: Path, num_shards: int) -> dict[str, str]:
    """Writes `base` with its weights in several files, as large checkpoints are published. Returns each key's file."""
    to.mkdir()
    tensors = load_file(base / "model.safetensors")
    weight_map = {
        key: f"model-{number % num_shards + 1:05d}-of-{num_shards:05d}.safetensors"
        for number, key in enumerate(sorted(tensors))
    }
    for name in sorted(set(weight_map.values())):
        save_file({key: tensors[key] for key in tensors if weight_map[key] == name}, to / name)
    (to / INDEX).write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": weight_map}))
    for path in base.iterdir():
        if path.suffix in (".json", ".txt"):
            (to / path.name).write_bytes(path.read_bytes())
    return weight_map


def adapt(model: Sa2VA, to: Path, *, use_rslora: bool = False) -> dict[str, torch.Tensor]:
    """Writes an adapter that changes every target, and one module in full. Returns the weights that merging gives."""
    lora = RECIPE.replace({"lora.r": 4, "lora.alpha_over_r": 2.0, "lora.use_rslora": use_rslora}).lora
    scale = 8 / 2 if use_rslora else 8 / 4  # alpha / sqrt(r), alpha / r
    encoder_scale = 4.5 / 3**0.5 if use_rslora else 4.5 / 3
    encoder = EncoderSettings(
        sam2="late", vision="all" if model.dims.family.is_internvl else "none", r=3, alpha_over_r=1.5
    )
    adapters = TrialAdapters(model, lora, ("text_hidden_fcs", "neck"), seed=0, encoder=encoder)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for tensor in adapters.parameters.values():
            tensor.add_(0.05 * torch.randn(tensor.shape, generator=generator))
    adapters.store.refresh()
    save_adapter(to, model, adapters.parameters, lora, ("text_hidden_fcs", "neck"), encoder=encoder)
    moved = {
        f"{name}.weight": module.base_layer.weight
        + (encoder_scale if module.in_encoder else scale) * module.own_b @ module.lora_A
        for name, module in model.named_modules()
        if isinstance(module, LoraLinear)
    }
    for full in ("text_hidden_fcs", "sam_vision.neck"):
        moved |= {f"{full}.{name}": value.clone() for name, value in model.get_submodule(full).named_parameters()}
    adapters.detach()
    return {name: tensor.detach() for name, tensor in moved.items()}


@pytest.mark.parametrize(
    ("name", "use_rslora"), [("tiny", True), ("sa2va-internvl-tiny", False), ("sa2va-qwen3vl-tiny", False)]
)
def test_a_sharded_base_keeps_its_layout(tmp_path: Path, name: str, use_rslora: bool) -> None:
    if name != "tiny" and not (REFERENCE / name).exists():
        pytest.skip(f"needs {REFERENCE / name}")
    whole = model_folder("tiny") if name == "tiny" else REFERENCE / name
    weight_map = shard(whole, tmp_path / "base", 3)
    model = load_model(tmp_path / "base", device=CPU, dtype=torch.float32)
    moved = adapt(model, tmp_path / "adapter", use_rslora=use_rslora)
    (tmp_path / "merged").mkdir()
    merge(tmp_path / "base", tmp_path / "adapter", tmp_path / "merged")

    assert json.loads((tmp_path / "merged" / INDEX).read_text())["weight_map"] == weight_map
    for file in sorted(set(weight_map.values())):
        mode, others = ((tmp_path / "merged" / name).stat().st_mode for name in (file, "config.json"))
        assert mode == others, "the umask's, as of every other file"
        before, after = load_file(tmp_path / "base" / file), load_file(tmp_path / "merged" / file)
        assert before.keys() == after.keys()
        assert all(before[key].dtype == after[key].dtype for key in before)
    again = load_model(tmp_path / "merged", device=CPU, dtype=torch.float32)
    stored = load_file(whole / "model.safetensors")[next(iter(weight_map))].dtype
    rounding = 1e-6 if stored == torch.float32 else 2**-8
    for key, tensor in model.state_dict().items():
        wanted = moved.get(key, tensor)
        found = again.state_dict()[key]
        if key in moved:
            assert not found.equal(tensor), key
            assert torch.allclose(found, wanted, rtol=rounding, atol=1e-6), key
        else:
            assert found.equal(wanted), key


def test_a_shard_that_is_gone_is_named(tmp_path: Path) -> None:
    weight_map = shard(model_folder("tiny"), tmp_path / "base", 3)
    adapt(load_model(tmp_path / "base", device=CPU, dtype=torch.float32), tmp_path / "adapter")
    lost = sorted(set(weight_map.values()))[1]
    (tmp_path / "base" / lost).unlink()
    (tmp_path / "merged").mkdir()
    with pytest.raises(CheckpointError, match=lost):
        merge(tmp_path / "base", tmp_path / "adapter", tmp_path / "merged")
