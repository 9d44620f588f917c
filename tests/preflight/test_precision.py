"""--precision: what a search computes in, and one sentence where that is not possible."""

from pathlib import Path

import pytest
from torch import nn

from tests.plan.test_clock import flags
from tests.watch.runs import settings_in
from tune_sa2va.config import ModelSettings
from tune_sa2va.errors import DeviceError, UserError
from tune_sa2va.model.checkpoint import outline_of
from tune_sa2va.model.fp8 import misfit
from tune_sa2va.model.locate import model_folder, preset_names
from tune_sa2va.preflight.precision import check_cards, precision_of
from tune_sa2va.preflight.settings import faults, resolve_settings
from tune_sa2va.results.settings import SearchSettings


def test_nothing_but_fp8_itself_gives_fp8(tmp_path: Path) -> None:
    assert [precision_of(flags(tmp_path), gpus) for gpus in (0, 1)] == ["fp32", "bf16"]
    there = flags(tmp_path, precision="fp8", address="10.0.0.1:6379")  # its cards cannot be asked from here
    assert precision_of(there, 2) == "fp8"
    assert precision_of(flags(tmp_path, precision="fp8"), 2, elsewhere=True) == "fp8"


@pytest.mark.parametrize(
    ("given", "said"),
    [("fp8", "needs GPUs with fp8 .* the search runs on CPUs. Leave it out"), ("fp16", "one of auto, fp8, got 'fp16'")],
)
def test_what_cannot_be_is_said_before_anything_is_written(tmp_path: Path, given: str, said: str) -> None:
    asked = flags(tmp_path / "results", precision=given)
    with pytest.raises(UserError, match=f"--precision {'must be ' if given == 'fp16' else 'fp8 '}{said}"):
        resolve_settings(asked)
    assert any("--precision" in fault for fault in faults(asked))
    assert not (tmp_path / "results").exists()


def test_a_card_without_fp8_is_named() -> None:
    check_cards([("NVIDIA L4", (8, 9)), ("NVIDIA H100", (9, 0)), ("NVIDIA B200", (10, 0))])
    with pytest.raises(DeviceError, match=r"NVIDIA A100-SXM4-80GB has 8\.0; leave it out, to compute in bf16\.$"):
        check_cards([("NVIDIA H100", (9, 0)), ("NVIDIA A100-SXM4-80GB", (8, 0))])


@pytest.mark.parametrize("name", preset_names())
def test_every_preset_can_be_quantised(name: str) -> None:
    assert misfit(outline_of(model_folder(name)).language_model) is None


def test_sides_that_fp8_does_not_take_are_named() -> None:
    language_model = outline_of(model_folder("tiny")).language_model
    language_model.model.layers[1].mlp.down_proj = nn.Linear(200, 192, device="meta")
    assert "one of 192 x 200; leave --precision out." in (misfit(language_model) or "")


def test_search_yaml_keeps_it_and_exports_are_plain(tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    changed = settings.model_copy(update={"model": ModelSettings(model="tiny", precision="fp8")})
    changed.save(changed.folder)
    loaded = SearchSettings.load(changed.folder)
    assert loaded.model.precision == "fp8" and loaded.lane.model.precision == "fp8"
    assert loaded.model.plain == ModelSettings(model="tiny", precision="bf16")
    assert settings.model.plain == settings.model
