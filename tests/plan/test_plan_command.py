"""The command takes the search's flags and shows all faults at once, also as JSON. The probe runs a real trial."""

import inspect
import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tune_sa2va.cli import run
from tune_sa2va.plan.__main__ import app, main
from tune_sa2va.search.__main__ import main as search_command


@pytest.fixture
def call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.setenv("TUNE_SA2VA_CACHE", str(tmp_path / "cache"))

    def plan(*arguments: str) -> tuple[object, str]:
        with pytest.raises(SystemExit) as left:
            run(app, ["--out", str(tmp_path / "results"), "--gpus", "0", "--lanes", "2", *arguments])
        assert not (tmp_path / "results").exists()
        return left.value.code, capsys.readouterr().out

    return plan


def folder_of_images(folder: Path, count: int, *, broken: tuple[str, ...] = ()) -> Path:
    generator = np.random.default_rng(0)
    for part in ("images", "masks"):
        (folder / part).mkdir(parents=True)
    for number in range(count):
        picture = generator.integers(0, 255, (64, 48 + number, 3), dtype=np.uint8)
        Image.fromarray(picture).save(folder / "images" / f"p{number}_frame_1.png")
        Image.fromarray((picture[..., 0] > 200).astype(np.uint8) * 255).save(
            folder / "masks" / f"p{number}_frame_1.png"
        )
    for name in broken:
        (folder / "images" / name).write_bytes(b"no picture")
        (folder / "masks" / name).write_bytes(b"no picture")
    return folder


def test_it_has_the_flags_of_the_search() -> None:
    theirs = inspect.signature(search_command).parameters
    mine = inspect.signature(main).parameters
    assert set(theirs) - set(mine) == {"context", "resume", "trust", "quiet", "mlflow", "wandb", "report"}
    assert all(mine[name].annotation == theirs[name].annotation for name in set(theirs) & set(mine))
    assert set(mine) - set(theirs) == {"no_probe", "card", "as_json"}


def test_a_search_that_can_run(call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "tune_sa2va.plan.room.available_memory_gib", lambda: 16.0
    )  # independent of what else runs on this machine
    code, out = call("--trials", "9", "--no-probe")
    assert code == 0
    assert max(map(len, out.splitlines())) <= 80
    for said in (
        *("9 of at most 15 epochs", "9 reach epoch 1", "2 on CPUs", "34 val, 6 test", "GiB per lane"),
        "5 adapters per trial",
    ):
        assert said in out
    assert "Nothing found" in out and "no probe" in out


def test_one_split_and_other_rungs(call) -> None:
    out = call("--trials", "9", "--no-probe", "--folds", "1", "--grace-period", "2", "--reduction-factor", "4")[1]
    for said in ("28 train, 6 val, 6 test", "one split", "9 reach epoch 2, ", " reach epoch 8, "):
        assert said in out


def test_reruns_are_planned(call) -> None:
    said = call("--trials", "9", "--no-probe", "--confirm", "3")[1]
    assert "the best 3 and the recipe again: 8 reruns, 120 epochs more" in said


def test_all_faults_of_the_flags_at_once(call) -> None:
    code, out = call("--trials", "0", "--sampler", "x", "--space", "absent", "--model", "absent", "--data", "/absent")
    assert code == 1
    for said in (
        "5 problems:",
        "--trials must",
        "--sampler must",
        "no such search space",
        "--model absent",
        "/absent",
    ):
        assert said in out


def test_faults_of_data_and_space_at_once(call, tmp_path: Path) -> None:
    data = folder_of_images(tmp_path / "data", 9, broken=("x.png", "y.png"))
    space = tmp_path / "space.yaml"
    space.write_text("fixed:\n  lora.target_modules: [q_proj, lm_head]\nspace:\n  lora.r: {choice: [8, 64]}\n")
    code, out = call("--data", str(data), "--space", str(space), "--json")
    said = json.loads(out)
    assert code == 1 and said["would_fail"]
    text = " ".join(said["problems"])
    assert len(re.findall(r"img-[0-9a-f]{10}", text)) >= 2 and "no loss reaches language_model.lm_head" in text


def test_too_little_room_is_a_fault(call, monkeypatch: pytest.MonkeyPatch) -> None:
    from tune_sa2va.plan import room

    monkeypatch.setattr(room, "available_memory_gib", lambda: 1.5)
    monkeypatch.setattr(room, "free_disk_gib", lambda _folder: 0.01)
    code, out = call("--no-probe", "--json")
    problems = json.loads(out)["problems"]
    assert code == 1
    assert [problem.split(":")[0] for problem in problems] == ["memory", "feature cache", "results"]


@pytest.mark.slow
def test_checkpoints_are_weighed_at_the_largest_rank(call) -> None:
    sizes = []
    for space in ("smoke", "lora"):  # up to rank 64, and up to 128
        _, out = call("--space", space, "--trials", "8", "--no-probe", "--json")
        sizes.append(json.loads(out)["room"]["results_gib"])
    assert sizes[1] > 1.7 * sizes[0]


@pytest.mark.slow  # trains for 24 steps after loading the model twice: 10 s
def test_the_probe_runs_a_trial_and_leaves_nothing(call, tmp_path: Path) -> None:
    data = folder_of_images(tmp_path / "data", 9)
    code, out = call("--data", str(data), "--space", "smoke", "--trials", "3", "--epochs", "2", "--json")
    said = json.loads(out)
    assert code == 0, said
    pace, seconds = said["pace"], said["seconds"]
    assert pace["train_s"] > pace["val_s"] > 0 and pace["load_s"] > 0 and pace["encode_s"] > 0
    assert "steps on 6 images" in pace["source"]
    assert seconds["low"] <= seconds["total"] <= seconds["high"]
    assert not (tmp_path / "cache" / "features").exists()


def plan_for_cards(tmp_path: Path, *arguments: str) -> object:
    with pytest.raises(SystemExit) as left:
        run(app, ["--out", str(tmp_path / "results"), "--trials", "9", "--folds", "1", *arguments])
    return left.value.code


@pytest.mark.parametrize(
    ("card", "space", "free"),
    [
        ("h100", "lora", "78.7 of 79.2 GiB free"),
        pytest.param("24", "smoke", "23.5 of 24.0 GiB free", marks=pytest.mark.slow),
    ],
)
def test_cards_that_are_elsewhere_are_planned_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], card: str, space: str, free: str
) -> None:
    asked = ("--card", card, "--space", space, "--gpus", "2", "--trials-per-gpu", "auto", "--trials", "60")
    assert plan_for_cards(tmp_path, *asked) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "2, each on 1 of 2 GPUs, at most 4 trials at a time in each" in out
    assert "At most 4 trials per GPU: no other number is expected to end the search a tenth sooner." in out
    assert out.count(free) == 2 and "tiny in bf16" in out


def test_a_card_that_is_not_known_or_not_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert plan_for_cards(tmp_path, "--card", "GT9000", "--gpus", "1") == 2
    assert "--card must be one of B200, H200," in capsys.readouterr().err
    assert plan_for_cards(tmp_path, "--card", "H100", "--gpus", "0") == 1
    assert "--card needs --gpus" in " ".join(capsys.readouterr().out.split())
