"""A trial of every family through the workbench that lanes open: cache, estimate, steps, scores, adapter on disk."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tests.model.conftest import REFERENCE
from tests.model.families import small
from tests.train.bench import lane_settings
from tune_sa2va.cache.room import features_bytes
from tune_sa2va.config import RECIPE, ModelSettings
from tune_sa2va.data import image_size
from tune_sa2va.data.split_file import read_names, read_split
from tune_sa2va.model.adapter import load_adapter
from tune_sa2va.model.dims import read_dims
from tune_sa2va.model.locate import model_folder
from tune_sa2va.train.memory import estimate_memory
from tune_sa2va.train.workbench import Workbench, open_model

TOKENIZERS = Path(small.__file__).parent


def internlm2(folder: Path) -> Path:
    small.write_checkpoint(folder, small.internvl(small.INTERNLM2, small.INTERN_VIT))
    shutil.copytree(TOKENIZERS / "internlm2_tokenizer", folder, dirs_exist_ok=True)
    return folder


def qwen2_5_vl(folder: Path) -> Path:
    small.write_checkpoint(folder, small.qwen2_5_vl())
    for path in model_folder("tiny").glob("tokenizer*"):  # text is text: the ids need only exist
        shutil.copy(path, folder)
    return folder


def golden(name: str) -> Callable[[Path], Path]:
    def find(_: Path) -> Path:
        if not (REFERENCE / name).is_dir():
            pytest.skip(f"the reference data {name} is not on this machine")
        return REFERENCE / name

    return find


@pytest.mark.parametrize(
    ("checkpoint", "targets"),
    [
        (internlm2, ("wqkv", "wo")),
        (qwen2_5_vl, RECIPE.lora.target_modules),
        (golden("sa2va-internvl-tiny"), RECIPE.lora.target_modules),
        (golden("sa2va-qwen3vl-tiny"), RECIPE.lora.target_modules),
    ],
    ids=["internlm2", "qwen2.5-vl", "internvl", "qwen3-vl"],
)
def test_a_trial_runs(tmp_path: Path, checkpoint: Callable[[Path], Path], targets: tuple[str, ...]) -> None:
    (tmp_path / "model").mkdir()
    folder = checkpoint(tmp_path / "model")
    model = ModelSettings(model=str(folder), precision="fp32")
    settings = lane_settings(tmp_path, raw_high_res=False).model_copy(
        update={"model": model, "feature_cache": tmp_path / "cache"}
    )
    config = RECIPE.replace({"lora.r": 4, "train.epochs": 2, "lora.target_modules": list(targets)})
    bench = Workbench.open(settings, read_names(tmp_path), rank=0, world_size=1)
    trial = bench.trial(config)
    first, second = trial.epochs()
    trial.save(tmp_path / "checkpoint")
    trial.close()
    assert 0 <= second.val_dice <= 1
    assert second.train_loss < first.train_loss

    written = list(settings.feature_cache.rglob("*.safetensors"))
    sizes = [image_size(sample.image) for sample in read_split(tmp_path, settings.data) if sample.split != "test"]
    assert sum(path.stat().st_size for path in written) == features_bytes(
        read_dims(folder), sizes, torch.float32, raw_high_res=False
    )
    estimate = estimate_memory(folder, config, precision="fp32", on_gpu=True, width_px=96, height_px=96)
    values = load_adapter(open_model(model, torch.device("cpu")), tmp_path / "checkpoint" / "adapter").parameters
    assert estimate.trained_values == sum(tensor.numel() for tensor in values.values())
