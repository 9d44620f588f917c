"""Base models that cannot be loaded: each a copy of the tiny preset with one thing wrong."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from tests.data.making import save_pair
from tune_sa2va.model.locate import model_folder

from .case import Case

_WEIGHTS, _INDEX = "model.safetensors", "model.safetensors.index.json"
_KEY = "mlp1.1.weight"


def _case(name: str, damage: Callable[[Path], object], *says: str) -> Case:
    """A search on a damaged model: refused before Ray starts."""

    def make(folder: Path) -> list[str]:
        base = _copy(folder, damage)
        save_pair(folder / "data", "good.png", 0)
        data = ["--data", str(folder / "data"), "--out", str(folder / "results")]
        return ["search", "--gpus", "0", "--model", str(base), *data]

    return Case(name=f"checkpoint: {name}", make=make, says=("base", *says))


def _used_by(name: str, damage: Callable[[Path], object], *says: str) -> Case:
    """The same for a command that scores images."""

    def make(folder: Path) -> list[str]:
        base = _copy(folder, damage)
        save_pair(folder / "data", "good.png", 0)
        image = str(folder / "data" / "images" / "good.png")
        return ["predict", image, "--model", str(base), "--to", str(folder / "out")]

    return Case(name=f"checkpoint to predict with: {name}", make=make, says=("base", *says))


def _copy(folder: Path, damage: Callable[[Path], object]) -> Path:
    base = folder / "base"
    shutil.copytree(model_folder("tiny"), base)
    damage(base)
    return base


def _write(name: str, content: str) -> Callable[[Path], object]:
    return lambda base: (base / name).write_text(content)


def _remove(name: str) -> Callable[[Path], object]:
    return lambda base: (base / name).unlink()


def _config(**changed: object) -> Callable[[Path], object]:
    def damage(base: Path) -> None:
        config = json.loads((base / "config.json").read_text())
        (base / "config.json").write_text(json.dumps(config | changed))

    return damage


def _of_llm(**changed: object) -> Callable[[Path], object]:
    def damage(base: Path) -> None:
        config = json.loads((base / "config.json").read_text())
        config["llm_config"] |= changed
        (base / "config.json").write_text(json.dumps(config))

    return damage


def _tensors(change: Callable[[dict[str, torch.Tensor]], object]) -> Callable[[Path], object]:
    def damage(base: Path) -> None:
        tensors = load_file(base / _WEIGHTS)
        change(tensors)
        save_file(tensors, base / _WEIGHTS, metadata={"format": "pt"})

    return damage


def _shorten(base: Path) -> None:
    with (base / _WEIGHTS).open("rb+") as file:
        file.truncate(1_000_000)


def _pickled(base: Path) -> None:
    (base / _WEIGHTS).unlink()
    torch.save({}, base / "pytorch_model.bin")


def _index(files: dict[str, str]) -> Callable[[Path], object]:
    return _write(_INDEX, json.dumps({"weight_map": files}))


def _emptied(base: Path) -> None:
    for path in base.iterdir():
        path.unlink()


CHECKPOINTS = [
    _case("an empty folder", _emptied, "config.json", "not found", "Give the folder of a Sa2VA checkpoint"),
    _case("config.json cut off", _write("config.json", '{"archi'), "cannot be read as JSON", "Copy it again"),
    _case("config.json too deep", _write("config.json", "[" * 100_000), "cannot be read as JSON", "Copy it again"),
    _case("config.json a list", _write("config.json", "[]"), "must hold a JSON object", "Copy it again"),
    _case("another architecture", _config(llm_config={"model_type": "llama"}), "'llama'", "Give the folder of one"),
    _case("no Sa2VA", _write("config.json", '{"model_type": "bert"}'), "'bert'", "Give the folder of one of these"),
    _case("a part of config.json a text", _config(vision_config="large"), "config.json", "Give the folder"),
    _case("a width that is no number", _of_llm(hidden_size="wide"), "config.json", "Copy it again"),
    _case("a width without end", _of_llm(intermediate_size=float("inf")), "config.json", "Copy it again"),
    _case("heads that do not divide", _of_llm(num_attention_heads=7), "keys do not fit", "Check that config.json"),
    _case("no heads", _of_llm(num_attention_heads=0), "config.json", "Copy it again"),
    _case("a width below 0", _of_llm(intermediate_size=-4), "config.json", "Copy it again"),
    _case("no layers", _config(llm_config={"model_type": "qwen2"}), "config.json", "keys do not fit", "Check that"),
    _case("sam2_dims.json no numbers", _write("sam2_dims.json", '{"d": "wide"}'), "cannot be read as", "Copy it again"),
    _case("no weights", _remove(_WEIGHTS), "neither model.safetensors nor", "Give the folder that holds"),
    _case("pickle only", _pickled, "pytorch_model.bin is a pickle", "safe_serialization=True"),
    _case("weights cut short", _shorten, _WEIGHTS, "perhaps cut short", "Copy it again"),
    _case("weights a text", _write(_WEIGHTS, "no weights"), _WEIGHTS, "not a readable safetensors", "Copy it again"),
    _case("a shard missing", _index({_KEY: "model-2.safetensors"}), "1 shards are missing", "Copy them here"),
    _case("a shard of a long name", _index({_KEY: f"{'9' * 300}.safetensors"}), "1 shards are missing", "Copy them"),
    _case("a key of the index missing", _index({"x.y": _WEIGHTS}), "x.y", "Copy shards and index again"),
    _case("the index no index", _write(_INDEX, "[1]"), "not a safetensors index", "Copy it again"),
    _case("a shard outside", _index({_KEY: "../model.safetensors"}), "no safetensors file of this folder", "Copy"),
    _case("a key missing", _tensors(lambda held: held.pop(_KEY)), f"missing {_KEY}", "Check that config.json"),
    _case("an unknown key", _tensors(lambda held: held.update(x=torch.ones(1))), "unexpected x", "Check that"),
    _case(
        "a wrong shape", _tensors(lambda held: held.update({_KEY: torch.ones(3, 5)})), f"{_KEY} is (3, 5)", "Check that"
    ),
    _case("no tokenizer", _remove("tokenizer.json"), "no tokenizer files", "Copy them"),
    _case("tokenizer cut off", _write("tokenizer.json", '{"mod'), "tokenizer", "Copy"),
    _used_by("weights cut short", _shorten, "perhaps cut short", "Copy it again"),
    _used_by("pickle only", _pickled, "is a pickle", "safe_serialization=True"),
    _used_by("a wrong shape", _tensors(lambda held: held.update({_KEY: torch.ones(3, 5)})), f"{_KEY} is (3, 5)"),
    _used_by("tokenizer cut off", _write("tokenizer.json", '{"mod'), "tokenizer", "Copy"),
]
