"""Exports of a small real search: equal scores in a fresh process, a card without names, no trace of a failed one."""

import dataclasses
import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from tune_sa2va.config import RECIPE
from tune_sa2va.data.known_images import CONTENT_FILE, read_content
from tune_sa2va.data.split_file import read_names
from tune_sa2va.errors import CheckpointError, UserError
from tune_sa2va.evaluate.tuned import read_tuned
from tune_sa2va.export import app, best_checkpoint, checkpoints, find_checkpoints
from tune_sa2va.export.card import literal
from tune_sa2va.model.locate import model_folder
from tune_sa2va.results.records import RunRecords
from tune_sa2va.train.records import EpochRecord

MODEL = "tiny"


def export(*arguments: object) -> tuple[int, str]:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    return result.exit_code, result.output


@pytest.fixture(scope="module")
def adapter(search: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Trial bb, exported with the live modules only."""
    to = tmp_path_factory.mktemp("exports") / "adapter"
    code, output = export("--run", search, "--trial", "bb", "--live-only", "--to", to)
    assert code == 0, output
    assert "verified" in output
    return to


def test_a_fresh_process_scores_what_the_search_recorded(search: Path, adapter: Path) -> None:
    tuned, recorded = read_tuned(adapter), best_checkpoint(search, "bb")
    assert tuned is not None
    assert tuned.verification.recorded_val_dice == recorded.val_dice
    assert tuned.verification.difference <= 1e-6
    assert tuned.metrics.val_default.dice.mean == pytest.approx(recorded.val_dice, abs=1e-6)
    assert tuned.metrics.val_chosen.dice.mean >= tuned.metrics.val_default.dice.mean
    assert tuned.config == recorded.config
    environment = json.loads((search / "environment.json").read_text())
    assert tuned.data_fingerprint == environment["data_fingerprint"]
    assert tuned.base_model.sha256 == environment["base_model"]["sha256"]
    known = read_content(adapter)
    assert known is not None and {(image.image_code, image.split) for image in known.images} == {
        (row["image_code"], row["split"]) for row in read_names(search)
    }


def test_live_only_leaves_the_memory_attention_out(search: Path, adapter: Path) -> None:
    whole = load_file(best_checkpoint(search, "bb").folder / "adapter" / "adapter_model.safetensors")
    live = load_file(adapter / "adapter_model.safetensors")
    assert whole.keys() - live.keys() == {name for name in whole if ".memory_attention." in name} != set()
    assert "memory_attention" in json.loads((adapter / "adapter_config.json").read_text())["exclude_modules"]


def test_the_card_names_no_file_of_the_data(search: Path, adapter: Path) -> None:
    card = (adapter / "README.md").read_text()
    about = (adapter / "tune_sa2va.json").read_text()
    for row in read_names(search):
        assert Path(row["name"]).name not in card + about
        assert Path(row["name"]).name.encode() not in (adapter / CONTENT_FILE).read_bytes()
    assert str(search) not in card + about
    tuned = read_tuned(adapter)
    assert tuned is not None
    assert tuned.data_fingerprint in card and f"sigmoid > {tuned.threshold:g}" in card
    val = [row["group_code"] for row in read_names(search) if row["split"] == "val"]
    assert f"| validation | {len(val)} / {len(set(val))} | 0.5 |" in card
    assert "it was not scored on the locked test part" in card


def test_text_of_the_settings_cannot_act_in_the_card() -> None:
    assert literal("a`b|c\n<script>x</script>") == "<code>a&#x27;b/c &lt;script&gt;x&lt;/script&gt;</code>"


def test_merged_loads_back_key_for_key(search: Path, tmp_path: Path) -> None:
    to = tmp_path / "merged"
    code, output = export("--run", search, "--trial", "bb", "--merge", "--to", to)
    assert code == 0, output
    base = model_folder(MODEL)
    with safe_open(base / "model.safetensors", "pt") as old, safe_open(to / "model.safetensors", "pt") as new:
        assert set(old.keys()) == set(new.keys())
        changed = set()
        for key in old.keys():  # noqa: SIM118 - no mapping
            before, after = old.get_tensor(key), new.get_tensor(key)
            assert (before.dtype, before.shape) == (after.dtype, after.shape), key
            if not before.equal(after):
                changed.add(key)
    assert "language_model.model.layers.0.self_attn.q_proj.weight" in changed
    assert any(key.startswith("text_hidden_fcs.") for key in changed)
    assert all(".memory_attention." not in key and "vision_model" not in key for key in changed)
    assert not list(to.glob("*.py")) and not (to / "adapter").exists()
    assert (to / "tokenizer.json").exists() and "copy the `*.py`" in (to / "README.md").read_text()


def spoilt(search: Path, tmp_path: Path, **changes: object) -> Path:
    """A copy of the search in which the recorded Dice of trial aa is wrong."""
    copy = tmp_path / "spoilt"
    shutil.copytree(search, copy)
    records = RunRecords.open(copy)
    row = records.epochs().query("trial_id == 'aa'").to_dict("records")[0]
    records.epoch("aa", {field.name: row[field.name] for field in dataclasses.fields(EpochRecord)} | changes)
    return copy


@pytest.mark.slow  # runs the whole export; test_write tests the limits of `_verify` alone
def test_a_score_that_is_not_reproduced_is_not_published(search: Path, tmp_path: Path) -> None:
    run, to = spoilt(search, tmp_path, val_dice=0.99), tmp_path / "adapter"
    code, output = export("--run", run, "--trial", "aa", "--to", to)
    assert code == 1
    assert "not written" in output and "0.990000" in output
    assert not to.exists() and not list(tmp_path.glob(".*unfinished"))


def test_a_damaged_checkpoint_is_named(search: Path, tmp_path: Path) -> None:
    run = spoilt(search, tmp_path)
    path = best_checkpoint(run, "aa").folder / "adapter" / "adapter_model.safetensors"
    tensors = load_file(path)
    save_file({name: tensor * 2 for name, tensor in tensors.items()}, path)
    result = CliRunner().invoke(app, ["--run", str(run), "--trial", "aa", "--to", str(tmp_path / "x")])
    assert isinstance(result.exception, CheckpointError)
    assert "is damaged" in str(result.exception) and not (tmp_path / "x").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--trial", "zz"], "Trials with one: aa, bb"),
        (["--merge", "--live-only"], "Leave out one of the two"),
    ],
)
def test_wrong_use(search: Path, tmp_path: Path, arguments: list[str], said: str) -> None:
    result = CliRunner().invoke(app, ["--run", str(search), "--to", str(tmp_path / "x"), *arguments])
    assert isinstance(result.exception, UserError)
    assert said in str(result.exception)


def test_other_files_are_not_overwritten(search: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("")
    result = CliRunner().invoke(app, ["--run", str(search), "--to", str(tmp_path)])
    assert isinstance(result.exception, UserError) and "holds other files" in str(result.exception)
    assert (tmp_path / "thesis.txt").exists()


def test_the_best_checkpoint_is_the_one_with_the_highest_dice(search: Path) -> None:
    found = find_checkpoints(search)
    assert {checkpoint.trial_id for checkpoint in found} == {"aa", "bb"}
    assert best_checkpoint(search).val_dice == max(checkpoint.val_dice for checkpoint in found)
    assert all(checkpoint.config != RECIPE for checkpoint in found)


@pytest.mark.parametrize(
    ("given", "full"), [("3", "0003"), ("0003", "0003"), ("12", "0012"), ("3-seed1", "0003-seed1"), ("bb", "bb")]
)
def test_a_trial_is_called_by_its_number(given: str, full: str, monkeypatch: pytest.MonkeyPatch) -> None:
    known = [SimpleNamespace(trial_id=trial_id) for trial_id in ("0003", "0012", "0003-seed1", "bb")]
    monkeypatch.setattr(checkpoints, "find_checkpoints", lambda run: known)
    assert best_checkpoint(Path("run"), given).trial_id == full
