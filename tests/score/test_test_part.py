"""The locked part: exactly its images are scored, each contender with its own adapter, and no contender twice."""

from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch

from tests.train.bench import lane_settings
from tests.watch.runs import settings_in
from tune_sa2va.config import DataSettings, LoraSettings
from tune_sa2va.data.split_file import read_names, read_split
from tune_sa2va.evaluate.examples import Examples
from tune_sa2va.evaluate.metrics import Counts, count
from tune_sa2va.evaluate.predict import predict
from tune_sa2va.lane.messages import Files, read_files
from tune_sa2va.model.adapter import save_adapter
from tune_sa2va.model.lora import TrialAdapters
from tune_sa2va.model.sa2va import Sa2VA
from tune_sa2va.results.settings import SearchSettings
from tune_sa2va.results.test_scores import AT_DEFAULT, AT_OWN, SCORES_FILE, read_locked_part
from tune_sa2va.score import test_part as module
from tune_sa2va.score.test_part import Contender, score_test_part
from tune_sa2va.train.workbench import open_examples, open_model

BASE = Contender(row="untuned base", checkpoint="untuned base")


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> SearchSettings:
    """A search of six images; its split gives each part two."""
    folder = tmp_path_factory.mktemp("scored")
    made = settings_in(folder)
    lane = lane_settings(made.folder, images=6)
    data = DataSettings(source=lane.data.source)
    return made.model_copy(update={"data": data, "feature_cache": lane.feature_cache})


def adapter(model: Sa2VA, folder: Path) -> Files:
    """An adapter that changes the masks."""
    lora = LoraSettings(r=2)
    adapters = TrialAdapters(model, lora, (), seed=0)
    with torch.no_grad():
        for name, value in adapters.parameters.items():
            if "lora_B" in name:
                value.fill_(0.05)
    save_adapter(folder, model, adapters.parameters, lora, ())
    adapters.detach()
    return read_files(folder)


def test_the_test_part_is_scored_with_each_ones_adapter(settings: SearchSettings, tmp_path: Path) -> None:
    names = read_names(settings.folder)
    model = open_model(settings.model, torch.device("cpu"))
    tuned = Contender(row="winner", checkpoint="0003, epoch 2", adapters=(adapter(model, tmp_path / "adapter"),))
    last = Contender(row="base again", checkpoint="base again")
    rows, masks = module._score(settings, names, [BASE, tuned, last])
    test = [row for row in names if row["split"] == "test"]
    for contender in (BASE, tuned, last):
        own = [row for row in rows[contender.row] if row["at"] == AT_OWN]
        assert len({row["threshold"] for row in own}) == 1 and len(own) == len(test)
        found = rows[contender.row] = [row for row in rows[contender.row] if row["at"] == AT_DEFAULT]
        assert [row["image_code"] for row in found] == [row["image_code"] for row in test] != []
        assert {row["checkpoint"] for row in found} == {contender.checkpoint}
        assert [row["group_code"] for row in found] == [row["group_code"] for row in test]
    assert set(masks) == {f"{row}/{image['image_code']}.png" for row in rows for image in test}
    counts = {row: [Counts(**{part: entry[part] for part in ("tp", "fp", "fn", "tn")}) for entry in found]
              for row, found in rows.items()}  # fmt: skip
    assert all(row["dice"] == pytest.approx(one.dice, nan_ok=True) for name, found in rows.items()
               for row, one in zip(found, counts[name], strict=True))  # fmt: skip
    module._write(tmp_path / SCORES_FILE, rows["winner"], 1)
    assert pq.read_table(tmp_path / SCORES_FILE)["dice"].to_pylist() == [row["dice"] for row in rows["winner"]]
    assert counts["untuned base"] == counts["base again"] == by_hand(settings, model) != counts["winner"]


def by_hand(settings: SearchSettings, model: Sa2VA) -> list[Counts]:
    samples = [sample for sample in read_split(settings.folder, settings.data) if sample.split == "test"]
    examples: Examples = open_examples(model, settings.lane, samples, torch.device("cpu"))
    return [count((predict(model, examples[i]) > 0).numpy(), examples[i].truth.numpy()) for i in range(len(examples))]


def test_what_was_scored_is_not_opened_again(tmp_path: Path) -> None:
    """Ray is not running, so opening the part would fail."""
    settings = settings_in(tmp_path)
    entry = {"image_code": "i1", "group_code": "g1", "text": "vessel", "at": AT_DEFAULT, "threshold": 0.5,
             "tp": 1, "fp": 2, "fn": 3, "tn": 4, "cl_dice": 0.5, "hd95_px": 1.0, "betti_error": 0.0}  # fmt: skip
    rows = [entry | {"row": row, "checkpoint": checkpoint, "tp": tp}
            for row, checkpoint, tp in (("recipe", "0000, epoch 3", 7), ("winner", "0002, epoch 1", 8))]  # fmt: skip
    module._write(settings.folder / SCORES_FILE, rows, 2)
    # The recipe has become the winner: its scores are in the file under another name.
    score_test_part(settings, [Contender(row="winner", checkpoint="0000, epoch 3", adapters=({},))])
    locked = read_locked_part(settings.folder)
    assert locked is not None and locked.openings == 2
    (row,) = locked.scores.to_dict("records")
    assert (row["row"], row["checkpoint"], row["tp"], row["fn"]) == ("winner", "0000, epoch 3", 7, 3)
