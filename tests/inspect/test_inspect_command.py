"""The command `inspect`: tables within 80 columns, JSON with the same numbers, one sentence for wrong use."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tune_sa2va.cli import run
from tune_sa2va.errors import UserError
from tune_sa2va.inspect.__main__ import app
from tune_sa2va.inspect.kept import key_of
from tune_sa2va.train import memory


@pytest.fixture(autouse=True)
def _nothing_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUNE_SA2VA_CACHE", str(tmp_path / "cache"))


def inspect(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[object, str, str]:
    with pytest.raises(SystemExit) as left:
        run(app, list(arguments))
    out, err = capsys.readouterr()
    return left.value.code, out, err


def test_tables(capsys: pytest.CaptureFixture[str]) -> None:
    flags = ("--model", "tiny", "--memory", "--image-size", "512x512", "--precision", "fp32")
    code, out, _ = inspect(capsys, *flags)
    assert code == 0
    assert max(map(len, out.splitlines())) <= 80
    assert "…" not in out
    assert "layers.{0-2}.self_attn" in out
    assert "512x512" in out and "no gradient reaches it" in out
    assert "add --memory" not in out


def test_the_parameters_do_not_wait_for_the_memory(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def asked(*_: object, **__: object) -> None:
        raise UserError("the memory is asked for")

    monkeypatch.setattr(memory, "estimate_memory", asked)
    code, out, err = inspect(capsys, "--model", "tiny", "--memory")
    assert code == 2 and "the memory is asked for" in err
    assert "layers.{0-2}.self_attn" in out


def test_without_memory_it_says_how_to_ask_for_it(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = inspect(capsys, "--model", "tiny")
    assert code == 0 and "6,760,514" in out and "Expected memory" not in out
    assert out.endswith("Memory: add --memory, or ask `plan` for that of a search.\n")
    assert json.loads(inspect(capsys, "--model", "tiny", "--json")[1])["memory"] == []


def test_json_has_the_numbers(capsys: pytest.CaptureFixture[str]) -> None:
    flags = ("--model", "tiny", "--rank", "8", "--full-modules", "mask_decoder")
    code, out, _ = inspect(capsys, *flags, "--memory", "--image-size", "300x200", "--json")
    values = json.loads(out)
    assert code == 0
    assert values["parameters"]["total"] == sum(values["parameters"]["parts"].values()) == 6_760_514
    assert values["trained_in_full"]["parts"] == {"SAM2 mask decoder": 795_813}
    assert values["adapters"]["reached_by_a_gradient"] < values["adapters"]["trainable"]
    [found] = values["memory"]
    assert (found["width_px"], found["height_px"], found["image_tokens"]) == (300, 200, 64)
    assert found["card_gib"] >= found["step_gib"] > found["base_gib"] > 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--model", "absent"], "neither a folder nor a preset"),
        (["--model", "tiny", "--rank", "0"], "--rank must be from 1 to 512"),
        (["--model", "tiny", "--alpha", "0"], "--alpha must be above 0"),
        (["--model", "tiny", "--targets", "qkv"], "encoder.vision"),
        (["--model", "tiny", "--targets", ","], "--targets must name at least one module"),
        (["--model", "tiny", "--full-modules", "llm"], "--full-modules must be among text_hidden_fcs, mask_decoder"),
        (["--model", "tiny", "--memory", "--image-size", "512"], "--image-size must be WIDTHxHEIGHT"),
        (["--model", "tiny", "--memory", "--image-size", "512x99999"], "--image-size must be WIDTHxHEIGHT"),
        (["--model", "tiny", "--image-size", "512x512"], "--image-size changes the memory alone: add --memory."),
        (["--model", "tiny", "--precision", "fp32"], "--precision changes the memory alone: add --memory."),
    ],
)
def test_wrong_use(capsys: pytest.CaptureFixture[str], arguments: list[str], said: str) -> None:
    code, out, err = inspect(capsys, *arguments)
    assert code == 2 and out == "" and said in err and err.count("\n") == 1


ASKS = """
import gc, sys
from tune_sa2va.cli import run
from tune_sa2va.inspect.__main__ import app
try:
    run(app, sys.argv[1:])
finally:
    slow = {"torch", "transformers", "peft", "pyarrow", "tune_sa2va.train"}
    print(gc.isenabled(), *sorted(slow & set(sys.modules)), file=sys.stderr)
"""
"""Runs the command, and tells which packages it imported of those that take half a second or more."""


def test_parameters_import_little_the_second_time_nothing_and_say_the_same() -> None:
    """Importing is nearly all that takes time: 3.5 s of CPU time with torch and transformers alone."""
    asks = [sys.executable, "-c", ASKS, "--model", "tiny", "--json"]
    first, again = (subprocess.run(asks, capture_output=True, text=True) for _ in range(2))
    assert first.stderr.split() == ["True", "torch", "transformers"]
    assert again.stderr.split() == ["True"]
    assert json.loads(first.stdout)["adapters"]["trainable"] > 0 and again.stdout == first.stdout


def test_another_question_or_model_has_another_answer(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    keys = [key_of(tmp_path, rank) for rank in (8, 16, 8)]
    (tmp_path / "config.json").write_text('{"hidden_size": 64}')
    assert keys[0] == keys[2] != keys[1] and key_of(tmp_path, 8) != keys[0]
