"""Adapter files: PEFT loads ours into the reference's modules, we load PEFT's, and misfits are refused as a whole."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model_state_dict
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from tune_sa2va.config import NO_ENCODER, EncoderSettings, FullModule, LoraSettings
from tune_sa2va.errors import CheckpointError
from tune_sa2va.model.adapter import load_adapter, read_adapter, save_adapter
from tune_sa2va.model.lora import TrialAdapters
from tune_sa2va.model.sa2va import Sa2VA

BOTH: tuple[FullModule, ...] = ("text_hidden_fcs", "mask_decoder")
SETTINGS = LoraSettings(r=3, alpha_over_r=1.5, dropout=0.25, use_rslora=True, target_modules=("q_proj", "out_proj"))
A_KEY = "base_model.model.language_model.model.layers.0.self_attn.q_proj.lora_A.weight"
MEMORY = ".memory_attention."


def write(
    model: Sa2VA,
    folder: Path,
    settings: LoraSettings,
    full: tuple[FullModule, ...],
    encoder: EncoderSettings = NO_ENCODER,
    **options: Any,
) -> None:
    """Writes an adapter whose values differ from the initial ones."""
    adapters = TrialAdapters(model, settings, full, seed=0, encoder=encoder)
    with torch.no_grad():
        for place, parameter in enumerate(adapters.parameters.values()):
            parameter.add_(0.001 * (place + 1))
    save_adapter(folder, model, adapters.parameters, settings, full, encoder=encoder, **options)
    adapters.detach()


def stored(folder: Path) -> dict[str, Tensor]:
    return load_file(folder / "adapter_model.safetensors")


def config_of(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "adapter_config.json").read_text())


@pytest.fixture
def peft_adapter(golden_folder: Path, tmp_path: Path) -> Path:
    """A copy of the adapter that PEFT wrote from the reference, which tests may damage."""
    copy = tmp_path / "adapter"
    shutil.copytree(golden_folder / "adapter", copy, copy_function=shutil.copyfile)
    return copy


def reference_tree(weights: dict[str, Tensor]) -> nn.Module:
    """Modules with the reference's names and shapes, linear if the weight is a matrix, which is all that PEFT needs."""
    root = nn.Module()
    for key, tensor in weights.items():
        module = root
        *parents, leaf = key.split(".")
        for depth, part in enumerate(parents):
            if not hasattr(module, part):
                is_matrix = depth == len(parents) - 1 and tensor.dim() == 2
                has_bias = ".".join([*parents, "bias"]) in weights
                module.add_module(part, nn.Linear(*tensor.shape[::-1], bias=has_bias) if is_matrix else nn.Module())
            module = getattr(module, part)
        module.register_parameter(leaf, nn.Parameter(tensor.clone()))
    return root


@pytest.mark.parametrize(
    ("full", "live_only", "encoder"),
    [
        ((), False, NO_ENCODER),
        ((), True, NO_ENCODER),
        (("mask_decoder",), False, NO_ENCODER),
        (BOTH, True, NO_ENCODER),
        (("neck",), False, EncoderSettings(sam2="all", vision="all", r=3)),
        ((), True, EncoderSettings(sam2="late", vision="mlp1", r=3)),
    ],
)
def test_peft_finds_every_key_in_the_reference(
    model: Sa2VA,
    golden_folder: Path,
    tmp_path: Path,
    full: tuple[FullModule, ...],
    live_only: bool,
    encoder: EncoderSettings,
) -> None:
    write(model, tmp_path, LoraSettings(r=4), full, encoder, live_only=live_only)
    # Sorted, weights come last within a module, so make them first: a module is linear because of its weight.
    weights = load_file(golden_folder / "model.safetensors")
    tree = reference_tree(dict(sorted(weights.items(), key=lambda item: not item[0].endswith(".weight"))))
    loaded = get_peft_model_state_dict(PeftModel.from_pretrained(tree, str(tmp_path)), save_embedding_layers=False)
    saved = stored(tmp_path)
    assert loaded.keys() == saved.keys()
    assert [name for name, tensor in saved.items() if not torch.equal(loaded[name], tensor)] == []
    assert any(MEMORY in name for name in saved) is not live_only


@pytest.mark.parametrize("live_only", [False, True])
@pytest.mark.parametrize(
    ("full", "encoder"), [((), NO_ENCODER), (BOTH, NO_ENCODER), (("neck",), EncoderSettings(sam2="late", vision="all"))]
)
def test_round_trip(
    model: Sa2VA, tmp_path: Path, full: tuple[FullModule, ...], live_only: bool, encoder: EncoderSettings
) -> None:
    write(model, tmp_path, SETTINGS, full, encoder, live_only=live_only)
    read = read_adapter(model, tmp_path)
    wanted = SETTINGS.model_copy(update={"target_modules": tuple(sorted(SETTINGS.target_modules))})
    assert read.lora.model_dump() == wanted.model_dump() and read.encoder.model_dump() == encoder.model_dump()
    assert read.full_modules == full
    adapters = load_adapter(model, tmp_path)
    again = tmp_path / "again"
    save_adapter(again, model, adapters.parameters, SETTINGS, full, encoder=encoder, live_only=live_only)
    adapters.detach()
    first, second = stored(tmp_path), stored(again)
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert (tmp_path / "adapter_config.json").read_bytes() == (again / "adapter_config.json").read_bytes()
    assert sorted(path.name for path in again.iterdir()) == ["adapter_config.json", "adapter_model.safetensors"]


def test_peft_computes_with_the_encoders_own_rank_and_alpha(model: Sa2VA, golden_folder: Path, tmp_path: Path) -> None:
    """The adapted modules' outputs in the reference's tree equal ours, including InternViT's fused `qkv`."""
    encoder = EncoderSettings(sam2="all", vision="all", r=3, alpha_over_r=1.5)
    write(model, tmp_path, LoraSettings(r=4, alpha_over_r=4), (), encoder)
    weights = load_file(golden_folder / "model.safetensors")
    tree = reference_tree(dict(sorted(weights.items(), key=lambda item: not item[0].endswith(".weight"))))
    reference = PeftModel.from_pretrained(tree, str(tmp_path)).base_model.model.eval()
    adapters = load_adapter(model, tmp_path)
    generator = torch.Generator().manual_seed(0)
    for native, name in (
        (
            "sam_vision.backbone.blocks.1.mlp.proj_in",
            "grounding_encoder.sam2_model.image_encoder.trunk.blocks.1.mlp.layers.0",
        ),
        ("language_model.model.layers.1.self_attn.q_proj", "language_model.model.layers.1.self_attn.q_proj"),
        ("mlp1.3", "mlp1.3"),
        ("vision_model.encoder.layer.1.attention.{}_proj", "vision_model.encoder.layers.1.attn.qkv"),
    ):
        theirs = reference.get_submodule(name)
        x = torch.randn(5, theirs.in_features, generator=generator)
        ours = torch.cat(
            [model.get_submodule(native.format(part))(x) for part in ("qkv" if "{}" in native else "q")], 1
        )
        torch.testing.assert_close(ours, theirs(x), rtol=1e-5, atol=1e-5)
        assert not torch.allclose(ours, theirs.base_layer(x), rtol=1e-2, atol=1e-2)
    adapters.detach()


def test_the_configuration_is_pefts(model: Sa2VA, tmp_path: Path) -> None:
    write(model, tmp_path, SETTINGS, ("mask_decoder",))
    config = LoraConfig.from_pretrained(str(tmp_path))
    assert (config.r, config.lora_alpha, config.lora_dropout, config.use_rslora) == (3, 4.5, 0.25, True)
    assert config.target_modules == {"q_proj", "out_proj"}
    assert config.modules_to_save == ["sam_mask_decoder"]
    assert config.inference_mode
    assert isinstance(config_of(tmp_path)["lora_alpha"], float)
    write(model, tmp_path, LoraSettings(r=4), ())
    assert isinstance(config_of(tmp_path)["lora_alpha"], int)  # PEFT's type, for a whole number


def test_written_again_pefts_adapter_is_the_same_file(model: Sa2VA, golden_folder: Path, tmp_path: Path) -> None:
    adapters = load_adapter(model, golden_folder / "adapter")
    save_adapter(tmp_path, model, adapters.parameters, LoraSettings(r=4), ())
    adapters.detach()
    ours, golden = stored(tmp_path), stored(golden_folder / "adapter")
    assert {name: tensor.shape for name, tensor in ours.items()} == {name: t.shape for name, t in golden.items()}
    assert all(torch.equal(tensor, golden[name]) for name, tensor in ours.items() if MEMORY not in name)
    ignored = {"auto_mapping", "peft_version"}
    golden_config = config_of(golden_folder / "adapter")
    assert config_of(tmp_path).items() >= {k: v for k, v in golden_config.items() if k not in ignored}.items()


Spoil = Callable[[Path], None]


def set_config(**values: Any) -> Spoil:
    def spoil(folder: Path) -> None:
        (folder / "adapter_config.json").write_text(json.dumps(config_of(folder) | values))

    return spoil


def set_tensors(change: Callable[[dict[str, Tensor]], dict[str, Tensor]]) -> Spoil:
    def spoil(folder: Path) -> None:
        save_file(change(stored(folder)), folder / "adapter_model.safetensors")

    return spoil


def without(part: str, count: int) -> Spoil:
    """Drops the first `count` tensors whose name contains `part`."""

    def change(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        gone = [name for name in sorted(tensors) if part in name][:count]
        return {name: tensor for name, tensor in tensors.items() if name not in gone}

    return set_tensors(change)


def to_pickle(folder: Path) -> None:
    (folder / "adapter_model.safetensors").rename(folder / "adapter_model.bin")


def truncate(folder: Path) -> None:
    path = folder / "adapter_model.safetensors"
    path.write_bytes(path.read_bytes()[:5000])


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (to_pickle, r"adapter_model\.bin: is a pickle.*safe_serialization=True"),
        (truncate, r"adapter_model\.safetensors: is not a readable safetensors file"),
        (lambda folder: (folder / "adapter_model.safetensors").unlink(), r"adapter_model\.safetensors: not found"),
        (lambda folder: (folder / "adapter_config.json").unlink(), r"adapter_config\.json: not found"),
        (lambda folder: (folder / "adapter_config.json").write_text("{"), r"adapter_config\.json: cannot be read"),
        (lambda folder: (folder / "adapter_config.json").write_text("[]"), r"adapter_config\.json: cannot be read"),
        (set_config(peft_type="IA3"), "peft_type is 'IA3', wanted LORA"),
        (set_config(r=0), r"adapter_config\.json: cannot be read"),
        (set_config(target_modules=".*q_proj"), r"adapter_config\.json: cannot be read"),
        (set_config(use_dora=True), "use_dora=True cannot be used"),
        (set_config(rank_pattern={"q_proj": 8}), "rank_pattern="),
        (set_config(modules_to_save=["lm_head"]), r"modules_to_save=\['lm_head'\]"),
        (set_config(exclude_modules=["k_proj"]), "exclude_modules="),
        (set_config(bias="all"), "bias='all'"),
        (set_config(r=8, lora_alpha=16), r"90 keys do not fit.*k_proj\.lora_A\.weight is \(4, 16\), wanted \(8, 16\)"),
        (
            set_tensors(lambda tensors: tensors | {"base_model.model.new": torch.zeros(1)}),
            "unknown base_model.model.new",
        ),
        (without(MEMORY, 1), r"1 keys do not fit.*missing .*memory_attention.*lora_A"),
    ],
)
def test_what_does_not_fit_is_refused(model: Sa2VA, peft_adapter: Path, spoil: Spoil, message: str) -> None:
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    spoil(peft_adapter)
    with pytest.raises(CheckpointError, match=message) as error:
        load_adapter(model, peft_adapter)
    assert "\n" not in str(error.value)
    after = model.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(after[name], before[name]) for name in before)


def test_all_that_does_not_fit_is_named_at_once(model: Sa2VA, peft_adapter: Path) -> None:
    def change(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        tensors["base_model.model.other.lora_A.weight"] = tensors.pop(A_KEY)
        return tensors | {A_KEY.replace("q_proj", "v_proj"): torch.zeros(4, 2)}

    set_tensors(change)(peft_adapter)
    with pytest.raises(CheckpointError, match="3 keys do not fit") as error:
        load_adapter(model, peft_adapter)
    for part in (f"missing {A_KEY}", "unknown base_model.model.other.lora_A.weight", "is (4, 2), wanted (4, 96)"):
        assert part in str(error.value)


def test_memory_attention_may_be_wholly_absent(model: Sa2VA, peft_adapter: Path) -> None:
    without(MEMORY, 24)(peft_adapter)
    assert not [name for name in stored(peft_adapter) if MEMORY in name]
    adapters = load_adapter(model, peft_adapter)
    assert torch.equal(adapters.parameters[A_KEY], stored(peft_adapter)[A_KEY])
    adapters.detach()
