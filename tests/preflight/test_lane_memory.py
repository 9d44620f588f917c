"""The most demanding trial of a space, and gradient checkpointing if it would not fit otherwise."""

from pathlib import Path

from tune_sa2va.config import Saving
from tune_sa2va.preflight.flags import Flags
from tune_sa2va.preflight.lane_memory import fit_memory, lane_memory, largest_config
from tune_sa2va.preflight.settings import resolve_settings
from tune_sa2va.results.settings import SearchSettings


def settings(out: Path, space: str, *, memory: str = "auto") -> SearchSettings:
    return resolve_settings(
        Flags(
            data=None, allow_outside=False, model="tiny", space=space, out=out, name="x", trials=4, epochs=3,
            confirm="0", seeds=2, warm_start=None, folds="1", final="auto", grace_period=1, reduction_factor=3,
            time_budget_min=None, sampler="tpe", seed=0, gpus=0, gpus_per_trial=1, lanes=1, max_disk_gib=None,
            cache_limit_gib=None, memory=memory, address=None, storage=None,
        )
    )  # fmt: skip


def test_the_largest_trial_of_a_space(tmp_path: Path) -> None:
    wide = largest_config(settings(tmp_path, "wide"))
    assert (wide.lora.r, wide.lora.dropout, wide.loss.lm) == (128, 0.1, 1.0)
    assert set(wide.train.full_modules) == {"text_hidden_fcs", "mask_decoder"}
    smoke = largest_config(settings(tmp_path, "smoke"))
    assert (smoke.lora.r, smoke.lora.dropout, smoke.train.full_modules) == (64, 0.0, ())


def test_checkpointing_only_where_it_is_needed(tmp_path: Path) -> None:
    found = settings(tmp_path, "smoke")
    sizes = [(64, 64), (96, 64), (64, 96)]
    assert lane_memory(found, "auto", sizes, 100.0)[0] == Saving()
    saving, estimate = lane_memory(found, "auto", sizes, 0.01)
    assert saving.checkpointed and estimate.checkpointed
    assert lane_memory(found, "fast", sizes, 0.01)[0] == Saving()


def test_a_base_in_fp8_gives_up_its_second_copy_first(tmp_path: Path) -> None:
    found = settings(tmp_path, "smoke")
    found = found.model_copy(update={"model": found.model.model_copy(update={"precision": "fp8"})})
    sizes = [(64, 64)]
    whole = lane_memory(found, "fast", sizes, 0.01)[1]
    saving, estimate = lane_memory(found, "auto", sizes, 0.99 * whole.card_gib)
    assert saving == (False, 1) and (estimate.fp8_copies, estimate.checkpointed) == (1, False)
    lane = found.with_saving(saving).lane
    assert lane.model.fp8_copies == 1 and not lane.checkpointed


def test_a_machine_without_cards_keeps_what_was_asked(tmp_path: Path) -> None:
    assert fit_memory(settings(tmp_path, "smoke"), "auto", [(64, 64)]).lane.checkpointed is False
    asked = settings(tmp_path, "smoke", memory="checkpoint")
    assert fit_memory(asked, "checkpoint", [(64, 64)]).lane.checkpointed is True
