"""The records of a search: their content, that they survive a kill, and the errors for damaged ones."""

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tune_sa2va.config import RECIPE
from tune_sa2va.errors import UserError
from tune_sa2va.model.identity import model_hash
from tune_sa2va.results import records as module
from tune_sa2va.results.environment import write_environment
from tune_sa2va.results.records import RunRecords, TrialKind, TrialState, read_epochs, read_trials
from tune_sa2va.train.records import EpochRecord

OTHER = RECIPE.replace({"lora.r": 8, "train.full_modules": ["mask_decoder"], "lora.use_rslora": True})


def record(epoch: int, val_dice: float, **values: Any) -> dict[str, Any]:
    plain = {field.name: 0.25 for field in dataclasses.fields(EpochRecord)} | {
        "warning": "",
        "micro_batch_size": 1,
        "seated": 1.0,
        "folds": 1,
        "folds_left": 0,
    }
    return dataclasses.asdict(EpochRecord(**plain | {"epoch": epoch, "val_dice": val_dice, "seconds": 2.0} | values))


def three_trials(folder: Path) -> RunRecords:
    """Records three trials: one complete, one stopped, one failed."""
    records = RunRecords.open(folder)
    records.trial_started("a", 0, RECIPE, "lane 0")
    records.trial_started("b", 1, OTHER, "lane 1")
    records.epoch("a", record(1, 0.5))
    records.epoch("b", record(1, 0.4, peak_gib=7.5))
    records.epoch("a", record(2, 0.7))
    records.trial_ended("b", TrialState.STOPPED)
    records.trial_started("c", 2, RECIPE, "lane 1")
    records.trial_ended("c", TrialState.FAILED, "train_loss is NaN in epoch 1")
    records.epoch("a", record(3, 0.6))
    records.trial_ended("a", TrialState.COMPLETE)
    return records


def test_a_row_a_trial_with_its_config_and_what_came_of_it(tmp_path: Path) -> None:
    three_trials(tmp_path)
    trials = read_trials(tmp_path).set_index("trial_id")
    assert list(trials.index) == ["a", "b", "c"]
    for trial_id, config in {"a": RECIPE, "b": OTHER}.items():
        row = trials.loc[trial_id]
        assert {path: (list(row[path]) if isinstance(v, list) else row[path]) for path, v in config.flat().items()} == (
            config.flat()
        )
    assert list(trials["state"]) == ["COMPLETE", "STOPPED", "FAILED"]
    assert list(trials["epochs"]) == [3, 1, 0]
    assert trials.loc["a", ["best_val_dice", "best_epoch", "last_val_dice", "seconds"]].tolist() == [0.6, 3, 0.6, 6.0]
    assert trials.loc["b", "peak_gib"] == 7.5
    assert trials.loc["c", "failure"] == "train_loss is NaN in epoch 1" and math.isnan(trials.loc["c", "best_val_dice"])
    assert (trials["ended_at"] >= trials["started_at"]).all()


def test_a_row_a_trial_and_epoch(tmp_path: Path) -> None:
    records = three_trials(tmp_path)
    epochs = read_epochs(tmp_path)
    assert list(zip(epochs["trial_id"], epochs["epoch"], strict=True)) == [("a", 1), ("a", 2), ("a", 3), ("b", 1)]
    assert epochs.loc[3, "lane"] == "lane 1"
    assert epochs.equals(records.epochs())


def test_a_repeated_epoch_replaces_its_row(tmp_path: Path) -> None:
    records = three_trials(tmp_path)
    records.epoch("a", record(2, 0.55, warning="again"))
    epochs = read_epochs(tmp_path).query("trial_id == 'a'")
    assert list(epochs["val_dice"]) == [0.5, 0.55, 0.6] and list(epochs["warning"]) == ["", "again", ""]
    assert records.trials().loc[0, ["best_val_dice", "best_epoch", "seconds"]].tolist() == [0.6, 3, 6.0]


def test_an_epoch_with_nothing_to_score_is_not_the_best(tmp_path: Path) -> None:
    records = RunRecords.open(tmp_path)
    records.trial_started("a", 0, RECIPE, "lane 0")
    records.epoch("a", record(1, math.nan))
    assert math.isnan(read_trials(tmp_path).loc[0, "best_val_dice"])
    records.epoch("a", record(2, 0.3))
    assert read_trials(tmp_path).loc[0, ["best_val_dice", "best_epoch"]].tolist() == [0.3, 2]


def test_a_resumed_search_goes_on_where_the_killed_one_was(tmp_path: Path) -> None:
    killed = three_trials(tmp_path)
    killed.trial_started("d", 3, OTHER, "lane 0")
    killed.epoch("d", record(1, 0.9))
    started_at = read_trials(tmp_path).loc[3, "started_at"]

    resumed = RunRecords.open(tmp_path)
    assert list(read_trials(tmp_path)["state"]) == ["COMPLETE", "STOPPED", "FAILED", "WAITING"]
    resumed.trial_started("d", 3, OTHER, "lane 1")
    row = read_trials(tmp_path).loc[3]
    assert (row["state"], row["lane"], row["best_val_dice"], row["started_at"]) == (
        "RUNNING",
        "lane 1",
        0.9,
        started_at,
    )
    resumed.epoch("d", record(2, 0.8))
    assert list(read_epochs(tmp_path).query("trial_id == 'd'")["lane"]) == ["lane 0", "lane 1"]


def test_a_kill_between_the_two_files_loses_no_summary(tmp_path: Path) -> None:
    records = three_trials(tmp_path)
    records.trial_started("d", 3, OTHER, "lane 0")
    records.epoch("d", record(1, 0.9))
    before = (tmp_path / "trials.parquet").read_bytes()
    records.epoch("d", record(2, 0.8))
    (tmp_path / "trials.parquet").write_bytes(before)
    RunRecords.open(tmp_path)
    assert read_trials(tmp_path).loc[3, ["epochs", "best_val_dice"]].tolist() == [2, 0.8]


def test_a_trial_that_is_over_keeps_its_row_whatever_counted_when_it_ended(tmp_path: Path) -> None:
    """Its other checkpoints are deleted, so no other epoch can count any more."""
    three_trials(tmp_path)
    path = tmp_path / "trials.parquet"
    table = pq.read_table(path)
    older = table.set_column(table.column_names.index("best_epoch"), "best_epoch", pa.array([2, 1, None], pa.int64()))
    pq.write_table(older, path)
    before = read_trials(tmp_path)
    RunRecords.open(tmp_path)
    pd.testing.assert_frame_equal(read_trials(tmp_path), before)
    assert before["best_epoch"].tolist()[:2] == [2, 1]


def test_a_kill_while_writing_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    records = three_trials(tmp_path)

    def killed(self: Path, target: Path) -> Path:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        records.epoch("a", record(4, 0.99))
    assert len(read_epochs(tmp_path)) == 4
    monkeypatch.undo()
    RunRecords.open(tmp_path).epoch("a", record(4, 0.99))
    assert len(read_epochs(tmp_path)) == 5
    assert sorted(file.name for file in tmp_path.iterdir()) == ["epochs.parquet", "trials.parquet"]


@pytest.mark.parametrize("file", ["trials.parquet", "epochs.parquet"])
@pytest.mark.parametrize("keep", [0, 10, 0.5, 0.99])
def test_a_truncated_file_is_named(file: str, keep: float, tmp_path: Path) -> None:
    three_trials(tmp_path)
    content = (tmp_path / file).read_bytes()
    (tmp_path / file).write_bytes(content[: int(keep if keep >= 1 else keep * len(content))])
    with pytest.raises(UserError, match=rf"{file}: damaged or not readable .*--name") as caught:
        RunRecords.open(tmp_path)
    assert "\n" not in str(caught.value)


def test_damage_inside_a_file_is_named(tmp_path: Path) -> None:
    three_trials(tmp_path)
    content = bytearray((tmp_path / "trials.parquet").read_bytes())
    content[4:400] = bytes(396)
    (tmp_path / "trials.parquet").write_bytes(content)
    with pytest.raises(UserError, match="damaged or not readable"):
        RunRecords.open(tmp_path)


def test_an_epoch_that_was_given_up_counts_last_and_not_best(tmp_path: Path) -> None:
    records = RunRecords.open(tmp_path)
    records.trial_started("a", 0, RECIPE, "lane 0")
    records.epoch("a", record(1, 0.5, folds=5))
    records.epoch("a", record(2, 0.9, folds=2, folds_left=3))
    assert read_trials(tmp_path).loc[0, ["best_val_dice", "best_epoch", "last_val_dice"]].tolist() == [0.5, 1, 0.9]


def test_files_of_before_the_folds_are_read(tmp_path: Path) -> None:
    three_trials(tmp_path)
    new = read_epochs(tmp_path)
    for name in ("trials.parquet", "epochs.parquet"):
        table = pq.read_table(tmp_path / name)
        later = ("folds", "folds_left", "micro_batch_size")
        table = table.drop_columns([column for column in later if column in table.column_names])
        pq.write_table(table.replace_schema_metadata({"tune_sa2va.schema_version": "3"}), tmp_path / name)
    pd.testing.assert_frame_equal(read_epochs(tmp_path), new.assign(micro_batch_size=math.nan))  # not recorded


def test_trials_of_before_a_field_have_what_the_recipe_has_there(tmp_path: Path) -> None:
    three_trials(tmp_path)
    trials, epochs = read_trials(tmp_path), read_epochs(tmp_path)
    later = ["encoder.sam2", "encoder.r", "loss.cldice", "train.ema", "data.strength", "kind", "parent", "folds"]
    later += ["train_loss_cldice", "train_loss_focal_tversky", "micro_batch_size", "folds_left", "seated"]
    for name in ("trials.parquet", "epochs.parquet"):
        table = pq.read_table(tmp_path / name)
        table = table.drop_columns([column for column in later if column in table.column_names])
        pq.write_table(table.replace_schema_metadata({"tune_sa2va.schema_version": "2"}), tmp_path / name)
    pd.testing.assert_frame_equal(read_trials(tmp_path), trials)
    given = {"train_loss_cldice": 0.0, "train_loss_focal_tversky": 0.0, "micro_batch_size": math.nan}
    pd.testing.assert_frame_equal(read_epochs(tmp_path), epochs.assign(**given))


def test_a_file_of_another_version_is_refused(tmp_path: Path) -> None:
    three_trials(tmp_path)
    table = pq.read_table(tmp_path / "trials.parquet")
    pq.write_table(table.replace_schema_metadata({"tune_sa2va.schema_version": "99"}), tmp_path / "trials.parquet")
    with pytest.raises(UserError, match="version 5, got 99"):
        read_trials(tmp_path)
    pq.write_table(pa.table({"x": [1]}), tmp_path / "trials.parquet")
    with pytest.raises(UserError, match="got none"):
        read_trials(tmp_path)


def test_changed_columns_need_a_new_schema_version() -> None:
    """If this fails, increase SCHEMA_VERSION, then list the new columns here."""
    assert module.SCHEMA_VERSION == 5
    config = [
        *("lora.r", "lora.alpha_over_r", "lora.dropout", "lora.target_modules", "lora.use_rslora"),
        *("encoder.sam2", "encoder.vision", "encoder.r", "encoder.alpha_over_r", "encoder.lr_factor"),
        *("optimizer.lr", "optimizer.weight_decay", "optimizer.max_grad_norm", "optimizer.warmup_fraction"),
        *("loss.dice", "loss.focal", "loss.bce", "loss.lm", "loss.focal_alpha", "loss.focal_gamma"),
        *("loss.cldice", "loss.focal_tversky"),
        *("loss.focal_tversky_alpha", "loss.focal_tversky_beta", "loss.focal_tversky_gamma"),
        *(
            "train.epochs",
            "train.micro_batch_size",
            "train.accumulation_steps",
            "train.full_modules",
            "train.ema",
            "train.seed",
        ),
        *("data.augment", "data.strength"),
    ]
    assert module.TRIALS_SCHEMA.names == [
        *(
            "trial_id",
            "number",
            "kind",
            "parent",
            *config,
            "state",
            "epochs",
            "best_val_dice",
            "best_epoch",
            "last_val_dice",
        ),
        *("seconds", "peak_gib", "failure", "started_at", "ended_at", "lane"),
    ]
    assert module.EPOCHS_SCHEMA.names == [
        *("trial_id", "kind", "epoch"),
        *("train_loss", "train_loss_dice", "train_loss_focal", "train_loss_bce", "train_loss_lm"),
        *("train_loss_cldice", "train_loss_focal_tversky"),
        *("lr", "grad_norm", "train_dice", "val_dice", "val_iou", "val_recall", "val_precision", "it_per_s", "seconds"),
        *(
            "train_seconds",
            "val_seconds",
            "peak_gib",
            "micro_batch_size",
            "seated",
            "folds",
            "folds_left",
            "warning",
            "lane",
            "ended_at",
        ),
    ]


def test_wrong_calls_are_named(tmp_path: Path) -> None:
    records = three_trials(tmp_path)
    with pytest.raises(ValueError, match="val_dice"):
        records.epoch("a", {key: value for key, value in record(4, 0.5).items() if key != "val_dice"})
    with pytest.raises(ValueError, match="reason"):
        records.trial_ended("a", TrialState.FAILED)
    with pytest.raises(ValueError, match="reason"):
        records.trial_ended("a", TrialState.COMPLETE, "but why")


def test_nothing_written_yet_reads_as_nothing(tmp_path: Path) -> None:
    assert read_trials(tmp_path).empty and read_epochs(tmp_path).empty


def test_environment_names_versions_hardware_data_and_weights(tmp_path: Path) -> None:
    weights = tmp_path / "model"
    weights.mkdir()
    (weights / "config.json").write_text("{}")
    write_environment(tmp_path, model="mine", model_folder=weights, data_fingerprint="f00")
    environment = json.loads((tmp_path / "environment.json").read_text())
    assert environment["versions"].keys() >= {"python", "torch", "transformers", "peft", "ray", "optuna"}
    assert environment["hardware"]["cores"] >= 1 and environment["hardware"]["memory_gib"] > 0
    assert environment["data_fingerprint"] == "f00"
    assert environment["base_model"] == {"id": "mine", "sha256": model_hash(weights)}


def test_reruns_are_read_only_where_they_are_asked_for(tmp_path: Path) -> None:
    records = three_trials(tmp_path)
    records.trial_started("a-seed1", 3, RECIPE.replace({"train.seed": 1}), "lane 0", parent="a")
    records.epoch("a-seed1", record(1, 0.9))
    for kind, trials, dices in (
        (TrialKind.SEARCH, ["a", "b", "c"], [0.5, 0.7, 0.6, 0.4]),
        (TrialKind.CONFIRMATION, ["a-seed1"], [0.9]),
        (None, ["a", "b", "c", "a-seed1"], [0.5, 0.7, 0.6, 0.4, 0.9]),
    ):
        assert list(read_trials(tmp_path, kind)["trial_id"]) == trials
        assert list(read_epochs(tmp_path, kind)["val_dice"]) == dices
    assert read_trials(tmp_path).equals(read_trials(tmp_path, TrialKind.SEARCH))
    rerun = read_trials(tmp_path, TrialKind.CONFIRMATION).iloc[0]
    assert (rerun["parent"], rerun["train.seed"]) == ("a", 1)
    assert RunRecords.open(tmp_path).epochs()["kind"].tolist() == 4 * ["search"] + ["confirmation"]


def test_what_is_not_kept_goes_with_its_epochs(tmp_path: Path) -> None:
    records = three_trials(tmp_path)
    records.keep_only({"b", "c"})
    assert list(read_trials(tmp_path)["trial_id"]) == ["b", "c"]
    assert list(read_epochs(tmp_path)["trial_id"]) == ["b"]
    assert list(RunRecords.open(tmp_path).epochs()["trial_id"]) == ["b"]


def test_with_folds_the_best_epoch_counts_and_of_equal_ones_the_first(tmp_path: Path) -> None:
    """The same epoch whose checkpoint the store keeps and the export chooses."""
    records = RunRecords.open(tmp_path)
    records.trial_started("a", 0, RECIPE, "lane 0")
    for epoch, dice in enumerate((0.3, 0.7, 0.7), start=1):
        records.epoch("a", record(epoch, dice, peak_gib=3.0 - epoch, folds=5))
    found = read_trials(tmp_path).loc[0, ["best_val_dice", "best_epoch", "last_val_dice", "epochs", "peak_gib"]]
    assert found.tolist() == [0.7, 2, 0.7, 3, 2.0]
