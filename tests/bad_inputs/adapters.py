"""Adapters that cannot be used: each a sound one of the tiny preset with one thing wrong."""

import functools
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load, save

from tests.data.making import save_pair
from tests.evaluate.tuned_folder import a_tuned
from tune_sa2va.config import LoraSettings
from tune_sa2va.model.adapter import save_adapter
from tune_sa2va.model.checkpoint import load_model
from tune_sa2va.model.locate import model_folder
from tune_sa2va.model.lora import TrialAdapters

from .case import Case

_TENSORS, _CONFIG = "adapter_model.safetensors", "adapter_config.json"
_A = "base_model.model.language_model.model.layers.0.self_attn.q_proj.lora_A.weight"
_DEEP = "[" * 5_000


@functools.cache
def _sound() -> dict[str, bytes]:
    """The files of an adapter that loads."""
    model, lora = load_model(model_folder("tiny"), device=torch.device("cpu"), dtype=torch.float32), LoraSettings(r=2)
    adapters = TrialAdapters(model, lora, (), seed=0)
    with tempfile.TemporaryDirectory() as name:
        save_adapter(Path(name), model, adapters.parameters, lora, ())
        return {path.name: path.read_bytes() for path in Path(name).iterdir()}


def _case(name: str, damage: Callable[[Path], object], *says: str) -> Case:
    def make(folder: Path) -> list[str]:
        adapter = folder / "adapter"
        adapter.mkdir()
        for file, content in _sound().items():
            (adapter / file).write_bytes(content)
        damage(adapter)
        save_pair(folder / "data", "good.png", 0)
        image = str(folder / "data" / "images" / "good.png")
        return ["predict", image, "--model", "tiny", "--adapter", str(adapter), "--to", str(folder / "out")]

    return Case(name=f"adapter: {name}", make=make, says=says)


def _config(**changed: Any) -> Callable[[Path], object]:
    def damage(adapter: Path) -> None:
        config = json.loads((adapter / _CONFIG).read_text())
        (adapter / _CONFIG).write_text(json.dumps(config | changed))

    return damage


def _half_an_ensemble(adapter: Path) -> None:
    """Says that it has two adapters, and has one."""
    (adapter / "fold_0").mkdir()
    for name in (_TENSORS, _CONFIG):
        (adapter / name).rename(adapter / "fold_0" / name)
    plain = a_tuned("0" * 64)
    tuned = plain.model_copy(update={"final": "ensemble", "split": plain.split.model_copy(update={"folds": 2})})
    (adapter / "tune_sa2va.json").write_text(tuned.to_json())


def _write(name: str, content: str | bytes) -> Callable[[Path], object]:
    return lambda adapter: (adapter / name).write_bytes(content if isinstance(content, bytes) else content.encode())


def _tensors(change: Callable[[dict[str, torch.Tensor]], object]) -> Callable[[Path], object]:
    def damage(adapter: Path) -> None:
        tensors = load((adapter / _TENSORS).read_bytes())
        change(tensors)
        (adapter / _TENSORS).write_bytes(save(tensors))

    return damage


def _shorten(adapter: Path) -> None:
    (adapter / _TENSORS).write_bytes(_sound()[_TENSORS][:-10])


def _cut_settings(adapter: Path) -> None:
    (adapter / _CONFIG).write_bytes(_sound()[_CONFIG][:40])


def _pickled(adapter: Path) -> None:
    (adapter / _TENSORS).unlink()
    torch.save({}, adapter / "adapter_model.bin")


def _of_another_base(adapter: Path) -> None:
    """Shapes of a model twice as wide."""
    _tensors(lambda held: held.update({name: torch.cat([t, t], -1) for name, t in held.items() if "lora_A" in name}))(
        adapter
    )


def _folder_for_file(adapter: Path) -> None:
    (adapter / _CONFIG).unlink()
    (adapter / _CONFIG).mkdir()


_UNREADABLE = (_CONFIG, "cannot be read as a LoRA adapter's settings", "Copy it again")
_MISFIT = (_TENSORS, "keys do not fit", "Use the base model that the adapter was trained on")
_FOREIGN = (_CONFIG, "cannot be used here", "Only plain LoRA")

ADAPTERS = [
    _case("no settings", lambda adapter: (adapter / _CONFIG).unlink(), _CONFIG, "not found", "Give the folder"),
    _case("no tensors", lambda adapter: (adapter / _TENSORS).unlink(), _TENSORS, "not found", "Give the folder"),
    _case("pickle only", _pickled, "is a pickle", "safe_serialization=True"),
    _case("cut short", _shorten, _TENSORS, "not a readable safetensors file", "Copy it again"),
    _case("a text for tensors", _write(_TENSORS, "none"), _TENSORS, "not a readable safetensors file", "Copy it again"),
    _case("another rank", _config(r=4, lora_alpha=8), "wanted (4, ", *_MISFIT),
    _case("another base's shapes", _of_another_base, "is (2, 256), wanted (2, 128)", *_MISFIT),
    _case("an unknown key", _tensors(lambda held: held.update(x=torch.ones(1))), "unknown x", *_MISFIT),
    _case("a missing key", _tensors(lambda held: held.pop(_A)), f"missing {_A}", *_MISFIT),
    _case("no keys", _tensors(lambda held: held.clear()), "missing", *_MISFIT),
    _case("whole numbers", _tensors(lambda held: held.update({_A: held[_A].int()})), _A, "int32"),
    _case("one value infinite", _tensors(lambda held: held[_A][0, 0].fill_(torch.inf)), _A, "not finite"),
    _case("not a number", _tensors(lambda held: held.update({_A: held[_A] * torch.nan})), _A, "not finite"),
    _case("settings cut off", _cut_settings, *_UNREADABLE),
    _case("settings no UTF-8", _write(_CONFIG, b"\xff\xfe{}"), *_UNREADABLE),
    _case("settings a list", _write(_CONFIG, "[]"), *_UNREADABLE),
    _case("settings too deep", _write(_CONFIG, _DEEP), *_UNREADABLE),
    _case("settings a folder", _folder_for_file, *_UNREADABLE),
    _case("settings without r", _write(_CONFIG, '{"peft_type": "LORA"}'), *_UNREADABLE),
    _case("r a text", _config(r="two"), *_UNREADABLE),
    _case("r of 0", _config(r=0), *_UNREADABLE),
    _case("r too large", _config(r=10**400), *_UNREADABLE),
    _case("alpha too large", _config(lora_alpha=10**400), *_UNREADABLE),
    _case("alpha no number", _config(lora_alpha=float("nan")), *_UNREADABLE),
    _case("targets a number", _config(target_modules=5), *_UNREADABLE),
    _case("modules in full a number", _config(modules_to_save=5), *_UNREADABLE),
    _case("modules in full as lists", _config(modules_to_save=[["lm_head"]]), "modules_to_save", *_FOREIGN),
    _case("no module of that name", _config(target_modules=["query"]), "'query'", "Nearest: "),
    _case("modules of the encoders by their end", _config(target_modules=["qkv"]), "'qkv'", "set encoder.sam2"),
    _case("one module of the encoders", _config(target_modules=["q_proj", "mlp1.1"]), "mlp1.3", "Give an adapter with"),
    _case("another kind", _config(peft_type="IA3"), "peft_type is 'IA3'", "Give a LoRA adapter"),
    _case("DoRA", _config(use_dora=True), "use_dora=True", *_FOREIGN),
    _case("ranks by module", _config(rank_pattern={"q_proj": 4}), "rank_pattern", *_FOREIGN),
    _case("another module in full", _config(modules_to_save=["lm_head"]), "lm_head", *_FOREIGN),
    _case(
        "an ensemble with a part missing", _half_an_ensemble, "an ensemble of 2 adapters, but fold_1", "Copy the whole"
    ),
    _case("the note cut off", _write("tune_sa2va.json", '{"trial"'), "tune_sa2va.json", "Copy it again"),
    _case("the note too deep", _write("tune_sa2va.json", _DEEP), "tune_sa2va.json", "Copy it again"),
    _case("the note a list", _write("tune_sa2va.json", "[]"), "tune_sa2va.json", "Export the trial again"),
    _case(
        "the note of a later version",
        _write("tune_sa2va.json", '{"format": 9}'),
        "format 9",
        "another tune_sa2va wrote it",
    ),
]
