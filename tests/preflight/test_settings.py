"""Settings that the flags leave open are decided before the start."""

from dataclasses import replace
from pathlib import Path

import pytest

from tune_sa2va.preflight.flags import Flags
from tune_sa2va.preflight.settings import resolve_settings


def flags(out: Path) -> Flags:
    return Flags(
        data=None, allow_outside=False, model="tiny", space="smoke", out=out, name="x", trials=20, epochs=15,
        confirm="auto", seeds=2, warm_start=None, folds="1", final="auto", grace_period=1, reduction_factor=3,
        time_budget_min=None, sampler="tpe", seed=0, gpus=0, gpus_per_trial=1, lanes=1,
        max_disk_gib=None, cache_limit_gib=None, memory="auto", address=None, storage=None,
    )  # fmt: skip


@pytest.mark.parametrize(("asked", "minutes", "wanted"), [("auto", None, 0), ("auto", 60.0, 2), ("3", None, 3)])
def test_by_itself_a_search_confirms_only_in_time_that_trials_leave(
    tmp_path: Path, asked: str, minutes: float | None, wanted: int
) -> None:
    asked_for = replace(flags(tmp_path), confirm=asked, time_budget_min=minutes)
    assert resolve_settings(asked_for).confirm == wanted


@pytest.mark.parametrize(("gpus", "name"), [(0, "wide"), (2, "deep")])
def test_by_itself_a_search_adapts_encoders_on_gpus(tmp_path: Path, gpus: int, name: str) -> None:
    asked_for = replace(flags(tmp_path), space="auto", gpus=gpus, lanes=None)
    settings = resolve_settings(asked_for, elsewhere=gpus > 0)
    assert Path(settings.space_file).name == f"{name}.yaml"
