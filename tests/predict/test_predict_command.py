"""The command predict: masks that score what evaluate says, its two modes, and what it refuses."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import Result
from PIL import Image
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from tests.evaluate.tuned_folder import IMAGES, THRESHOLD, Made, make
from tune_sa2va import load_adapter
from tune_sa2va.data import load_image, open_dataset
from tune_sa2va.data.truth import load_truth
from tune_sa2va.errors import CheckpointError, UserError
from tune_sa2va.evaluate.__main__ import app as evaluate
from tune_sa2va.evaluate.metrics import count, mean_scores
from tune_sa2va.model.locate import model_folder
from tune_sa2va.predict.__main__ import app
from tune_sa2va.predict.output import overlay


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return make(tmp_path_factory.mktemp("made"))


def predict(*arguments: object, model: object = "tiny") -> Result:
    return CliRunner().invoke(app, ["--model", str(model), *(str(argument) for argument in arguments)])


def first_image(made: Made) -> Path:
    return sorted((made.data / "images").iterdir())[0]


def mask_of(folder: Path, image: Path) -> np.ndarray:
    with Image.open(folder / "masks" / f"{image.stem}.png") as file:
        assert file.mode == "L"
        values = np.asarray(file)
    assert set(np.unique(values)) <= {0, 255}
    return values == 255


def test_masks_score_what_evaluate_says(made: Made, tmp_path: Path) -> None:
    done = predict("--adapter", made.adapter, made.data / "images", "--to", tmp_path / "out")
    assert done.exit_code == 0, done.output
    record = json.loads((tmp_path / "out" / "predictions.json").read_text())
    assert (record["threshold"], record["mode"], len(record["images"])) == (THRESHOLD, "forced", IMAGES)

    counts = []
    for sample in open_dataset(made.data).samples:
        mask = mask_of(tmp_path / "out", sample.image)
        counts.append(count(mask, load_truth(sample, *mask.shape)))
        painted = load_image(tmp_path / "out" / "overlays" / f"{sample.image.stem}.png")
        assert np.array_equal(painted, overlay(load_image(sample.image), mask))
    arguments = ["--model", "tiny", "--adapter", made.adapter, "--data", made.data, "--part", "all", "--json"]
    scored = CliRunner().invoke(evaluate, [str(argument) for argument in arguments])
    assert scored.exit_code == 0, scored.output
    default, chosen = json.loads(scored.stdout)["scores"]
    assert (default["threshold"], chosen["threshold"]) == (0.5, THRESHOLD)
    assert chosen["dice"]["mean"] == pytest.approx(mean_scores(counts).dice, abs=1e-6)
    assert chosen["dice"]["mean"] != pytest.approx(default["dice"]["mean"], abs=1e-6)


def test_a_picture_of_another_shape_keeps_its_size(tmp_path: Path) -> None:
    picture = tmp_path / "wide.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 90, 3), dtype=np.uint8)).save(picture)
    assert predict(picture, "--to", tmp_path / "out").exit_code == 0
    assert mask_of(tmp_path / "out", picture).shape == (40, 90)
    assert load_image(tmp_path / "out" / "overlays" / "wide.png").shape == (40, 90, 3)


def test_the_base_writes_seg_by_itself(made: Made, tmp_path: Path) -> None:
    image = first_image(made)
    done = predict(image, "--to", tmp_path / "out", "--mode", "generate")
    assert done.exit_code == 0, done.output
    (entry,) = json.loads((tmp_path / "out" / "predictions.json").read_text())["images"]
    assert entry["wrote_seg"] and "[SEG]" in entry["answer"]
    assert mask_of(tmp_path / "out", image).any()


def test_without_seg_a_mask_is_empty_and_said_to_be(made: Made, tmp_path: Path) -> None:
    image = first_image(made)
    done = predict("--adapter", made.silent, image, "--to", tmp_path / "out", "--mode", "generate")
    assert done.exit_code == 0, done.output
    assert f"{image}: the model wrote no [SEG], so its mask is empty" in done.stderr
    assert "1 of them empty" in done.stdout
    assert not mask_of(tmp_path / "out", image).any()


def test_all_bad_images_are_named_before_the_model_is_looked_at(made: Made, tmp_path: Path) -> None:
    text, twin, empty = tmp_path / "text.png", tmp_path / "twin.png", tmp_path / "empty"
    text.write_text("no picture")
    shutil.copy(first_image(made), twin)
    shutil.copy(twin, tmp_path / "twin.bmp")
    empty.mkdir()
    given = [text, tmp_path / "gone.png", twin, tmp_path / "twin.bmp", empty]
    done = predict(*given, "--to", tmp_path / "out", model="/no/such/model")
    assert done.exit_code == 1
    for said in ("text.png: cannot be read", "gone.png: there is no such file", "twin.png. Rename", "no image in this"):
        assert said in done.stderr
    assert "/no/such/model" not in done.output and not (tmp_path / "out").exists()


def test_other_files_are_left_alone(made: Made, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("")
    done = predict(first_image(made), "--to", tmp_path)
    assert isinstance(done.exception, UserError) and "holds other files" in str(done.exception)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_an_earlier_run_is_replaced_and_nothing_else(made: Made, tmp_path: Path) -> None:
    first, second = sorted((made.data / "images").iterdir())[:2]
    assert predict(first, second, "--to", tmp_path / "out").exit_code == 0
    (tmp_path / "out" / "masks" / "mine.png").write_text("")
    assert predict(second, "--to", tmp_path / "out").exit_code == 0
    assert {path.name for path in (tmp_path / "out" / "masks").iterdir()} == {f"{second.stem}.png", "mine.png"}


def test_an_adapter_of_another_base_is_refused(made: Made, tmp_path: Path) -> None:
    """The other base has the same shapes, so only the hash of its files tells."""
    other = tmp_path / "other"
    shutil.copytree(model_folder("tiny"), other)
    tensors = load_file(other / "model.safetensors")
    name = next(name for name in tensors if name.startswith("text_hidden_fcs"))
    save_file(tensors | {name: torch.zeros_like(tensors[name])}, other / "model.safetensors", metadata={"format": "pt"})
    call = ("--adapter", made.adapter, first_image(made), "--to", tmp_path / "out")
    done = predict(*call, model=other)
    assert isinstance(done.exception, CheckpointError)
    assert "made for the base 'tiny'" in str(done.exception) and "--any-base" in str(done.exception)
    assert not (tmp_path / "out").exists()
    assert predict(*call, "--any-base", model=other).exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--threshold", "1"], "above 0 and below 1, got 1"),
        (["--threshold", "nan"], "above 0 and below 1, got nan"),
        (["--text", " "], "--text must say"),
    ],
)
def test_wrong_use(made: Made, tmp_path: Path, arguments: list[str], said: str) -> None:
    done = predict(first_image(made), "--to", tmp_path / "out", *arguments)
    assert isinstance(done.exception, UserError) and said in str(done.exception)


def test_a_merged_checkpoint_is_no_adapter(made: Made, tmp_path: Path) -> None:
    merged = tmp_path / "merged"
    shutil.copytree(made.adapter, merged)
    about = json.loads((merged / "tune_sa2va.json").read_text())
    (merged / "tune_sa2va.json").write_text(json.dumps(about | {"merged": True}))
    done = predict("--adapter", merged, first_image(made), "--to", tmp_path / "out")
    assert isinstance(done.exception, CheckpointError) and "Give it as --model, without" in str(done.exception)


def test_from_python_the_mask_is_the_commands(made: Made, tmp_path: Path) -> None:
    image = first_image(made)
    assert predict("--adapter", made.adapter, image, "--to", tmp_path / "out").exit_code == 0
    shutil.copytree(made.adapter, tmp_path / "run" / "best_adapter")
    tuned = load_adapter(tmp_path / "run", "tiny")
    assert tuned.threshold == THRESHOLD
    assert np.array_equal(tuned.mask(image), mask_of(tmp_path / "out", image))
    assert np.array_equal(tuned.mask(load_image(image)), tuned.mask(str(image)))
