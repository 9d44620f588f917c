"""Several adapters of one configuration: their mean as one adapter, exactly, and the mean of their probabilities."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.evaluate.tuned_folder import a_tuned
from tune_sa2va.config import NO_ENCODER, EncoderSettings, FullModule, LoraSettings
from tune_sa2va.errors import CheckpointError
from tune_sa2va.evaluate.members import Members
from tune_sa2va.model.adapter import load_adapter, read_adapter, save_adapter
from tune_sa2va.model.average import average_adapters, check_average
from tune_sa2va.model.checkpoint import load_model
from tune_sa2va.model.encoding import encode
from tune_sa2va.model.locate import model_folder
from tune_sa2va.model.lora import TrialAdapters
from tune_sa2va.model.lora_linear import LoraLinear
from tune_sa2va.model.sa2va import Sa2VA

MEMBERS, RANK = 3, 4
LAYER = "language_model.model.layers.0.self_attn.q_proj"


@pytest.fixture(scope="module")
def model() -> Sa2VA:
    return load_model(model_folder("tiny"), device=torch.device("cpu"), dtype=torch.float32)


def write_members(
    model: Sa2VA, folder: Path, lora: LoraSettings, full: tuple[FullModule, ...], encoder: EncoderSettings = NO_ENCODER
) -> list[Path]:
    folders = [folder / f"fold_{number}" for number in range(MEMBERS)]
    for number, place in enumerate(folders):
        adapters = TrialAdapters(model, lora, full, seed=number, encoder=encoder)
        random = torch.Generator().manual_seed(number)
        with torch.no_grad():
            for name, parameter in adapters.parameters.items():
                if ".lora_A." not in name:
                    parameter.add_(torch.randn(parameter.shape, generator=random), alpha=0.05)
        save_adapter(place, model, adapters.parameters, lora, full, encoder=encoder)
        adapters.detach()
    return folders


def query(model: Sa2VA) -> Tensor:
    """The output of an adapted layer for a fixed input."""
    layer = model.get_submodule(LAYER)
    weight = layer.weight if hasattr(layer, "weight") else layer.base_layer.weight
    return layer(torch.randn(2, weight.shape[1], generator=torch.Generator().manual_seed(9))).detach()


def said_by(model: Sa2VA, folder: Path) -> Tensor:
    adapters = load_adapter(model, folder)
    said = query(model)
    adapters.detach()
    return said


@pytest.mark.parametrize("use_rslora", [False, True])
def test_the_average_is_exactly_the_mean(model: Sa2VA, tmp_path: Path, use_rslora: bool) -> None:
    lora = LoraSettings(r=RANK, use_rslora=use_rslora)
    folders = write_members(model, tmp_path, lora, ("text_hidden_fcs",))
    average_adapters(folders, tmp_path / "mean")
    read = read_adapter(model, tmp_path / "mean")
    assert read.lora.r == MEMBERS * RANK and read.full_modules == ("text_hidden_fcs",)
    wanted = torch.stack([said_by(model, folder) for folder in folders]).mean(dim=0)
    torch.testing.assert_close(said_by(model, tmp_path / "mean"), wanted, rtol=1e-5, atol=1e-5)
    check_average(tmp_path / "mean", folders)
    with pytest.raises(CheckpointError, match="is not the mean of the folds' adapters"):
        check_average(tmp_path / "mean", folders[:2])


@pytest.mark.parametrize("use_rslora", [pytest.param(False, marks=pytest.mark.slow), True])
def test_adapters_in_the_encoders_have_a_mean_of_their_own_rank(model: Sa2VA, tmp_path: Path, use_rslora: bool) -> None:
    encoder = EncoderSettings(sam2="all", vision="all", r=2, alpha_over_r=3.0)
    folders = write_members(model, tmp_path, LoraSettings(r=RANK, use_rslora=use_rslora), ("neck",), encoder)
    average_adapters(folders, tmp_path / "mean")
    read = read_adapter(model, tmp_path / "mean")
    assert (read.lora.r, read.encoder.r) == (MEMBERS * RANK, MEMBERS * 2)
    check_average(tmp_path / "mean", folders)
    picture = np.random.default_rng(0).integers(0, 255, (96, 96, 3), dtype=np.uint8)
    adapters = load_adapter(model, tmp_path / "mean")
    adapted = {name: module for name, module in model.named_modules() if isinstance(module, LoraLinear)}
    of_mean = {name: (module.scale * module.own_b @ module.lora_A).detach() for name, module in adapted.items()}
    with_mean = encode(model, picture, raw_high_res=True).embed
    adapters.detach()
    assert not torch.equal(with_mean, encode(model, picture, raw_high_res=True).embed)
    total = {name: torch.zeros_like(change) for name, change in of_mean.items()}
    for folder in folders:
        adapters = load_adapter(model, folder)
        for name in total:
            module = model.get_submodule(name)
            total[name] += (module.scale * module.own_b @ module.lora_A).detach() / MEMBERS
        adapters.detach()
    for name, change in of_mean.items():
        torch.testing.assert_close(change, total[name], rtol=1e-4, atol=1e-6)


def test_the_mean_of_many_large_adapters_can_be_read(model: Sa2VA, tmp_path: Path) -> None:
    folders = write_members(model, tmp_path, LoraSettings(r=256, target_modules=("layers.0.self_attn.q_proj",)), ())
    average_adapters(folders, tmp_path / "mean")
    assert read_adapter(model, tmp_path / "mean").lora.r == 768


def test_adapters_of_two_configurations_have_no_mean(model: Sa2VA, tmp_path: Path) -> None:
    first = write_members(model, tmp_path / "a", LoraSettings(r=2), ())
    second = write_members(model, tmp_path / "b", LoraSettings(r=3), ())
    with pytest.raises(CheckpointError, match="have different configurations"):
        average_adapters([first[0], second[0]], tmp_path / "mean")


@pytest.fixture
def members(model: Sa2VA, tmp_path: Path) -> Iterator[tuple[Members, list[Tensor]]]:
    folders = write_members(model, tmp_path, LoraSettings(r=2), ())
    alone = [said_by(model, folder) for folder in folders]
    attached = Members.attach(model, folders)
    yield attached, alone
    attached.detach()


def test_probabilities_are_averaged(model: Sa2VA, members: tuple[Members, list[Tensor]]) -> None:
    attached, alone = members
    for number, wanted in enumerate(alone):
        attached.enter(number)
        assert torch.equal(query(model), wanted)
    mean = torch.stack([torch.sigmoid(logits) for logits in alone]).mean(dim=0)
    torch.testing.assert_close(torch.sigmoid(attached.mean_logits(lambda: query(model))), mean)


def test_one_member_can_be_asked_alone(model: Sa2VA, members: tuple[Members, list[Tensor]]) -> None:
    attached, alone = members
    assert torch.equal(attached.mean_logits(lambda: query(model), only=1), alone[1])


def test_none_is_the_base_and_one_is_itself(model: Sa2VA, tmp_path: Path) -> None:
    base = query(model)
    assert torch.equal(Members.attach(model, []).mean_logits(lambda: query(model)), base)
    (folder, *_) = write_members(model, tmp_path, LoraSettings(r=2), ())
    wanted = said_by(model, folder)
    one = Members.attach(model, [folder])
    assert torch.equal(one.mean_logits(lambda: query(model)), wanted)
    one.detach()
    assert torch.equal(query(model), base)


def test_an_ensemble_with_a_part_missing_is_refused(tmp_path: Path) -> None:
    plain = a_tuned("0" * 64)
    tuned = plain.model_copy(update={"final": "ensemble", "split": plain.split.model_copy(update={"folds": 2})})
    (tmp_path / "fold_0").mkdir()
    (tmp_path / "fold_0" / "adapter_model.safetensors").touch()
    with pytest.raises(CheckpointError, match="an ensemble of 2 adapters, but fold_1 is missing"):
        tuned.members(tmp_path)
