"""Wrong use of the search command: one sentence, exit 2, nothing written, nothing started."""

import importlib.util
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from tune_sa2va.cli import run
from tune_sa2va.search.__main__ import app


@dataclass(frozen=True)
class Said:
    exit_code: int
    stdout: str
    stderr: str


Search = Callable[..., Said]


@pytest.fixture
def search(capsys: pytest.CaptureFixture[str]) -> Search:
    def call(*arguments: str) -> Said:
        with pytest.raises(SystemExit) as left:
            run(app, list(arguments))
        return Said(int(left.value.code or 0), *capsys.readouterr())

    return call


def _unless(package: str) -> pytest.MarkDecorator:
    there = importlib.util.find_spec(package) is not None
    return pytest.mark.skipif(there, reason=f"{package} is installed; test_outlets.py has the sentence")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--trials", "0"], "--trials must be from 1 to 10000, got 0"),
        (["--epochs", "0"], "--epochs must be from 1 to 10000, got 0"),
        (["--trials-per-gpu", "0"], "--trials-per-gpu must be auto or a number from 1 to 64, got '0'"),
        (["--trials-per-gpu", "many"], "--trials-per-gpu must be auto or a number from 1 to 64, got 'many'"),
        (["--time-budget", "0"], "--time-budget must be above 0"),
        (["--max-disk", "0"], "--max-disk must be above 0 GiB"),
        (["--cache-limit", "-1"], "--cache-limit must be above 0 GiB"),
        (["--confirm", "-1"], "--confirm must be auto or a number from 0 to 100, got '-1'"),
        (["--confirm", "3", "--seeds", "0"], "--seeds must be from 1 to 100, got 0"),
        (["--warm-start", "absent"], "absent: no results of a search"),
        (["--seed", "-1"], "--seed must be from 0"),
        (["--trust"], "--trust goes with --resume"),
        (["--name", "../elsewhere"], "--name must be 1 to 100 letters, digits and . _ -"),
        (["--name", ".."], "--name must be 1 to 100 letters, digits and . _ -"),
        (["--name", ""], "--name must be 1 to 100 letters, digits and . _ -"),
        (["--memory", "little"], "--memory must be one of auto, fast, checkpoint, got 'little'"),
        (["--sampler", "tpu"], "--sampler must be one of tpe, gp, cmaes, random, got 'tpu'"),
        (["--gpus", "-1"], "--gpus must be 0 or more"),
        (["--gpus-per-trial", "0"], "--gpus-per-trial must be 1 or more"),
        (["--gpus", "0", "--gpus-per-trial", "2"], "--gpus-per-trial 2 needs GPUs"),
        (["--gpus", "0", "--lanes", "0"], "--lanes must be from 1"),
        (["--gpus", str(torch.cuda.device_count() + 1)], f"this machine has {torch.cuda.device_count()}"),
        (["--address", "auto"], "--address needs --gpus"),
        (["--address", "h:1", "--gpus", "4", "--lanes", "2"], "--lanes is for searches on CPUs"),
        (
            ["--address", "h:1", "--gpus", "4", "--gpus-per-trial", "3"],
            "--gpus must be a multiple of --gpus-per-trial 3, got 4",
        ),
        (["--address", "127.0.0.1:1", "--gpus", "0"], "no Ray cluster answers"),
        (["--model", "no-such-model"], "--model no-such-model: neither a folder nor a preset"),
        (["--space", "no-such-space"], "no such search space"),
        (["--data", "no-such-data"], "there is no such file or folder"),
        pytest.param(["--mlflow", "http://127.0.0.1:1"], "-m pip install mlflow", marks=_unless("mlflow")),
        pytest.param(["--wandb", "vessels"], "-m pip install wandb", marks=_unless("wandb")),
        (["--storage", "s3://me:word@bucket"], "--storage s3://bucket: holds a password or a key"),
        (["--resume", "absent"], "no results of a search"),
        (["--resume", "absent", "--name", "a"], "does not take --out, --name"),
        (["--resume", "absent", "--max-disk", "0"], "--max-disk must be above 0 GiB"),
        (["--resume", "absent", "--epochs", "3"], "does not take --epochs, --out"),
        (["--resume", "absent", "--storage", "s3://bucket"], "does not take --out, --storage"),
        (["--resume", "file:///absent/x", "--epochs", "3"], "does not take --epochs."),
        (["--resume", "file:///absent/x"], "--resume file:///absent/x: holds no copy of a search"),
    ],
)
def test_wrong_use_is_one_sentence_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, search: Search, arguments: list[str], said: str
) -> None:
    monkeypatch.setenv("TUNE_SA2VA_CACHE", str(tmp_path / "cache"))
    out = tmp_path / "results"
    more = [] if {"--gpus", "--resume", "--address"} & {*arguments} else ["--gpus", "0"]
    where = [] if arguments[0] == "--resume" and "does not take" not in said else ["--out", str(out)]
    result = search(*where, *more, *arguments)
    assert result.exit_code == 2, result
    assert said in result.stderr
    assert result.stderr.count("\n") == 1 and result.stdout == ""
    assert not out.exists()


def test_a_name_is_taken_once(tmp_path: Path, search: Search) -> None:
    (tmp_path / "mine").mkdir()
    result = search("--out", str(tmp_path), "--name", "mine", "--gpus", "0")
    assert result.exit_code == 2
    assert "exists already" in result.stderr and "--resume" in result.stderr
    assert list((tmp_path / "mine").iterdir()) == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written(tmp_path: Path, search: Search) -> None:
    tmp_path.chmod(0o500)
    result = search("--out", str(tmp_path / "results"), "--gpus", "0")
    assert result.exit_code == 2 and "cannot be written" in result.stderr


def test_a_file_in_the_place_of_the_folder(tmp_path: Path, search: Search) -> None:
    (tmp_path / "file").write_text("")
    result = search("--out", str(tmp_path / "file" / "results"), "--gpus", "0")
    assert result.exit_code == 2 and "is a file" in result.stderr


def test_faults_of_the_data_are_shown_at_once_and_exit_1(tmp_path: Path, search: Search) -> None:
    data = tmp_path / "data"
    for folder in ("images", "masks"):
        (data / folder).mkdir(parents=True)
    (data / "images" / "a.png").write_bytes(b"no picture")
    (data / "masks" / "a.png").write_bytes(b"no picture")
    (data / "images" / "b.png").write_bytes(b"no picture either")
    result = search("--data", str(data), "--out", str(tmp_path / "results"), "--gpus", "0")
    assert result.exit_code == 1
    assert (
        len(set(re.findall(r"(?:img|file)-[0-9a-f]{10}", result.stdout))) == 2
    )  # no names if the output is no terminal
    assert not (tmp_path / "results").exists()
