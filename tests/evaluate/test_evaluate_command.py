"""The command evaluate: the recorded split, codes for names, and a tuned model that no longer writes [SEG]."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import Result
from typer.testing import CliRunner

from tests.evaluate.tuned_folder import IMAGES, Made, make, split_samples
from tune_sa2va.cache.place import features_folder
from tune_sa2va.cache.store import FeatureCache
from tune_sa2va.config import DataSettings
from tune_sa2va.data.codes import image_code
from tune_sa2va.data.procedural.folder import write_folder
from tune_sa2va.errors import UserError
from tune_sa2va.evaluate.__main__ import app
from tune_sa2va.evaluate.examples import Examples
from tune_sa2va.evaluate.metrics import count
from tune_sa2va.evaluate.predict import predict
from tune_sa2va.evaluate.scores import SegShare
from tune_sa2va.evaluate.threshold import DEFAULT_THRESHOLD, GRID, logit_of
from tune_sa2va.evaluate.tuned_model import find_tuned
from tune_sa2va.model.prompt import Prompter


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return make(tmp_path_factory.mktemp("made"))


def evaluate(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["--model", "tiny", *(str(argument) for argument in arguments)])


@pytest.mark.parametrize("asked", [None, "val"])
def test_the_part_is_that_of_the_search(made: Made, asked: str | None) -> None:
    flags = ["--part", asked] if asked else []
    done = evaluate("--adapter", made.adapter, "--data", made.data, "--json", *flags)
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    samples = split_samples(made.data)
    wanted = [image_code(sample) for sample in samples if sample.split == (asked or "test")]
    assert found["part"] == (asked or "test") and found["note"] == ""
    assert [image["image"] for image in found["images"]] == wanted != []
    for sample in samples:
        assert Path(sample.name).name not in done.output


def test_names_are_shown_where_asked_for(made: Made) -> None:
    done = evaluate("--adapter", made.adapter, "--data", made.data, "--show-names", "--part", "test")
    samples = split_samples(made.data)
    assert done.exit_code == 0, done.output
    assert all(sample.name in done.output for sample in samples if sample.split == "test")


def test_other_data_is_scored_whole(made: Made, tmp_path: Path) -> None:
    write_folder(tmp_path / "other", "leg", 2, 96, 9)
    done = evaluate("--adapter", made.adapter, "--data", tmp_path / "other", "--json")
    found = json.loads(done.stdout)
    assert (found["part"], found["num_images"]) == ("all", 2)
    assert found["note"] == "The search knows none of these images by its content, so all are scored."


def test_a_base_has_no_split(made: Made) -> None:
    done = evaluate("--data", made.data, "--part", "test")
    assert isinstance(done.exception, UserError) and "no split is recorded" in str(done.exception)


def test_a_base_is_scored_on_the_parts_of_a_search_at_a_threshold_of_its_own(made: Made) -> None:
    """The threshold is chosen on val, whichever part is scored. The test finds it from masks, the command from
    histograms."""
    found = {}
    for part in ("test", "val"):
        done = evaluate("--data", made.data, "--split-of", made.adapter, "--part", part, "--json")
        assert done.exit_code == 0, done.output
        found[part] = json.loads(done.stdout)
        wanted = [image_code(sample) for sample in split_samples(made.data) if sample.split == part]
        assert [image["image"] for image in found[part]["images"]] == wanted != []
    at = [[scores["threshold"] for scores in found[part]["scores"]] for part in ("test", "val")]
    assert at[0] == at[1] and at[0][0] == DEFAULT_THRESHOLD and len(at[0]) == 2
    dices = val_dices_of_the_base(made)
    assert dices[at[0][1]] == max(dices.values()) > dices[DEFAULT_THRESHOLD]


def val_dices_of_the_base(made: Made) -> dict[float, float]:
    """Threshold -> mean Dice."""
    base = find_tuned("tiny", None, any_base=False)
    model = base.load_base(torch.device("cpu"))
    cache = FeatureCache(features_folder(), base.folder, torch.float32, raw_high_res=False)
    val = [sample for sample in split_samples(made.data) if sample.split == "val"]
    settings = DataSettings(source=str(made.data))
    examples = Examples(val, cache, Prompter(base.folder), settings, torch.device("cpu"))
    logits = [predict(model, examples[index]).numpy() for index in range(len(val))]
    truths = [examples.truth(index).numpy() for index in range(len(val))]

    def dice(threshold: float) -> float:
        cut = logit_of(threshold)
        return float(np.mean([count(found > cut, truth).dice for found, truth in zip(logits, truths, strict=True)]))

    return {threshold: dice(threshold) for threshold in GRID}


def test_parts_of_another_search_are_not_for_a_model_that_has_its_own(made: Made, tmp_path: Path) -> None:
    done = evaluate("--adapter", made.adapter, "--data", made.data, "--split-of", made.adapter)
    assert isinstance(done.exception, UserError) and "brings the parts of its own search" in str(done.exception)
    done = evaluate("--data", made.data, "--split-of", tmp_path)
    assert isinstance(done.exception, UserError) and "it has no content.parquet" in str(done.exception)
    write_folder(tmp_path / "other", "leg", 2, 96, 9)
    done = evaluate("--data", tmp_path / "other", "--split-of", made.adapter)
    assert isinstance(done.exception, UserError) and "no threshold can be chosen" in str(done.exception)


def test_the_base_still_writes_seg(made: Made) -> None:
    done = evaluate("--data", made.data, "--generate")
    assert done.exit_code == 0, done.output
    assert f"writes [SEG] by itself for {IMAGES} of {IMAGES} images." in done.output


def test_an_adapter_that_writes_no_seg_is_broken(made: Made) -> None:
    done = evaluate("--adapter", made.silent, "--data", made.data, "--generate", "--json")
    assert done.exit_code == 1
    found = json.loads(done.stdout)
    assert found["seg"]["written"] == 0 and found["seg"]["broken"]
    assert "it is broken" in evaluate("--adapter", made.silent, "--data", made.data, "--generate").output


@pytest.mark.parametrize(("written", "broken"), [(0, True), (4, True), (5, False), (10, False)])
def test_broken_is_under_half(written: int, broken: bool) -> None:
    assert SegShare(written, 10).is_broken is broken


def test_faulty_data_is_shown_and_nothing_scored(made: Made, tmp_path: Path) -> None:
    write_folder(tmp_path / "data", "leg", 2, 96, 9)
    image = sorted((tmp_path / "data" / "images").iterdir())[0]
    image.write_text("no picture")
    done = evaluate("--data", tmp_path / "data")
    assert done.exit_code == 1 and "unreadable image" in done.output
