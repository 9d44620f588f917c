"""A results folder like that of a search, written with the search's own records."""

from pathlib import Path
from typing import Any

from tune_sa2va.config import RECIPE, DataSettings, ModelSettings
from tune_sa2va.results.records import EPOCHS_SCHEMA, RunRecords
from tune_sa2va.results.settings import SearchSettings
from tune_sa2va.space.rerun import rerun_id
from tune_sa2va.space.search_space import load_space

NOT_MEASURED = {"trial_id", "kind", "lane", "ended_at"}


def settings_in(out: Path, *, trials: int = 4, epochs: int = 9, confirm: int = 0) -> SearchSettings:
    space = load_space("smoke")
    settings = SearchSettings(
        name="demo",
        out=out,
        model=ModelSettings(model="tiny", precision="fp32"),
        data=DataSettings(source=str(out / "data"), split_seed=0),
        space_file=space.source,
        space=space.to_dict(),
        gpus=0,
        gpus_per_trial=1,
        lanes=2,
        cpus_per_worker=1,
        trials=trials,
        epochs=epochs,
        confirm=confirm,
        time_budget_s=None,
        sampler="tpe",
        seed=0,
        max_disk_gib=None,
        address=None,
        feature_cache=out / "cache",
        raw_high_res=False,
    )
    settings.folder.mkdir(parents=True)
    settings.save(settings.folder)
    return settings


def an_epoch(number: int, val_dice: float) -> dict[str, Any]:
    record: dict[str, Any] = {name: 0.5 for name in EPOCHS_SCHEMA.names if name not in NOT_MEASURED}
    return record | {
        "epoch": number,
        "val_dice": val_dice,
        "seconds": 10.0,
        "val_seconds": 1.0,
        "seated": 1.0,
        "folds": 1,
        "micro_batch_size": 1,
        "folds_left": 0,
        "warning": "",
    }


def start(records: RunRecords, number: int, *dices: float, lane: str = "lane 1", parent: str | None = None) -> str:
    """parent: of a rerun, whose seed is then its number."""
    trial_id = f"{number:04d}" if parent is None else rerun_id(parent, number)
    config = RECIPE if parent is None else RECIPE.replace({"train.seed": number})
    records.trial_started(trial_id, number, config, lane, parent=parent)
    for epoch, val_dice in enumerate(dices, start=1):
        records.epoch(trial_id, an_epoch(epoch, val_dice))
    return trial_id
