"""What a command calls images, on a terminal and elsewhere."""

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from tune_sa2va.data import check, open_dataset
from tune_sa2va.data.__main__ import app
from tune_sa2va.data.speech import Speech

from .making import SHAPE, picture, rectangle_mask, save, save_pair, write_csv

PATIENT = "Wang_Li(0000000001)"


def data_set(root: Path) -> Path:
    """A data set with every kind of message that quotes a patient's name."""
    save_pair(root, f"{PATIENT}_1_frame_1.png", 0)
    save_pair(root, f"{PATIENT}_2_frame_1.png", 1)
    save_pair(root, f"{PATIENT}_2_frame_2.png", 0)  # the same picture as the first
    save_pair(root, f"{PATIENT}_empty.png", 2, np.zeros(SHAPE, dtype=bool))
    save(root / "images" / f"{PATIENT}_unmasked.png", picture(3))
    save(root / "masks" / f"{PATIENT}_extra.png", rectangle_mask((0, 0, 2, 2)))
    (root / "images" / f"{PATIENT}_broken.png").write_bytes(b"no picture")
    save(root / "masks" / f"{PATIENT}_broken.png", rectangle_mask((0, 0, 2, 2)))
    (root / "images" / f"{PATIENT}.webp").write_bytes(b"x")
    (root / "images" / f"{PATIENT} frames").mkdir()
    for seed, name in enumerate("ab"):
        save_pair(root, f"{name * 3}.png", 10 + seed)
    return root


def manifest(root: Path) -> Path:
    save_pair(root, f"{PATIENT}.png", 0)
    rows = [
        {"image": f"images/{PATIENT}.png", "mask": f"masks/{PATIENT}.png", "group": PATIENT},
        {"image": f"images/{PATIENT}-gone.png", "mask": "x", "group": PATIENT},
        {"image": f"images/{PATIENT}.png", "mask": f"masks/{PATIENT}-gone.png", "group": PATIENT},
        {"image": f"/other/{PATIENT}-out.png", "mask": "x", "group": PATIENT},
    ]
    write_csv(root / "manifest.csv", rows, ("image", "mask", "group"))
    return root


@pytest.mark.parametrize("make", [data_set, manifest])
@pytest.mark.parametrize("flags", [[], ["--codes"], ["--json"]])
def test_no_name_leaves_the_room(tmp_path: Path, make: object, flags: list[str]) -> None:
    root = make(tmp_path / "study" / "cohort")  # type: ignore[operator]
    result = CliRunner().invoke(app, ["check", str(root), *flags])
    assert result.exit_code == 1
    for part in ("Wang", "Li", "0000000001", "study"):
        assert part not in result.output
    assert "img-" in result.output


@pytest.mark.parametrize("make", [data_set, manifest])
def test_names_where_they_are_asked_for(tmp_path: Path, make: object) -> None:
    root = make(tmp_path)  # type: ignore[operator]
    for flags in (["--show-names"], ["--show-names", "--json"]):
        result = CliRunner().invoke(app, ["check", str(root), *flags])
        assert f"images/{PATIENT}" in result.output
        assert "img-" not in result.output


def test_a_terminal_shows_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    report = check(open_dataset(data_set(tmp_path)))
    name = f"images/{PATIENT}_1_frame_1.png"
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    assert Speech.of(report, codes=None).file(name) == name
    assert Speech.of(report, codes=True).file(name).startswith("img-")
    monkeypatch.setattr("sys.stdout.isatty", lambda: False)
    assert Speech.of(report, codes=None).file(name).startswith("img-")


def test_json_says_what_the_tables_say(tmp_path: Path) -> None:
    root = data_set(tmp_path)
    said = json.loads(CliRunner().invoke(app, ["check", str(root), "--json", "--show-names", "--seed", "3"]).output)
    report = check(open_dataset(root))
    assert (said["images"], said["samples"], said["seed"]) == (5, 5, 3)
    assert sum(part["images"] for part in said["parts"].values()) == 5
    assert [group["group"] for group in said["groups"]] == sorted({sample.group for sample in report.samples})
    assert {image for group in said["groups"] for image in group["images"]} == {s.name for s in report.samples}
    assert [problem["problem"] for problem in said["problems"]] == [str(problem.fault) for problem in report.problems]
