"""The forms in which a trial with folds is exported: a fresh process verifies each, and each can be evaluated."""

import json
from pathlib import Path

import pytest

from tests.export.search_folder import make_search
from tune_sa2va.data.split_file import read_names
from tune_sa2va.errors import CheckpointError, NotReproducedError, UserError
from tune_sa2va.evaluate.tuned import FinalName
from tune_sa2va.evaluate.tuned_model import find_tuned
from tune_sa2va.export import TrialCheckpoint, best_checkpoint, export_adapter, export_merged
from tune_sa2va.model.average import check_average
from tune_sa2va.results.settings import SearchSettings
from tune_sa2va.train.workbench import Workbench

FOLDS = 2

pytestmark = pytest.mark.slow  # a fresh process for each export


@pytest.fixture(scope="module")
def folded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_search(tmp_path_factory.mktemp("folded"), trials=("bb",), images=6, folds=FOLDS)


@pytest.mark.parametrize("final", ["best-run", "average", "ensemble"])
def test_each_form_is_proved_out_of_fold(folded: Path, tmp_path: Path, final: FinalName) -> None:
    checkpoint, to = best_checkpoint(folded), tmp_path / "export"
    assert checkpoint.folds == FOLDS
    tuned = export_adapter(folded, checkpoint, to, final=final, choice="Nothing <beats> the recipe.")
    assert tuned.verification.difference <= 1e-6
    assert tuned.verification.recorded_val_dice == checkpoint.val_dice
    assert tuned.metrics.val_default.num_images == 5 and tuned.split.folds == FOLDS
    found = find_tuned("tiny", to, any_base=False)
    assert len(found.adapters) == (FOLDS if final == "ensemble" else 1)
    card = (to / "README.md").read_text()
    assert f"{FOLDS} folds" in card and "Nothing &lt;beats&gt; the recipe." in card
    if final == "average":
        check_average(to, [checkpoint.adapter(fold) for fold in range(FOLDS)])
    if final == "ensemble":
        (to / "fold_1" / "adapter_model.safetensors").unlink()
        with pytest.raises(CheckpointError, match="an ensemble of 2 adapters, but fold_1 is missing or incomplete"):
            find_tuned("tiny", to, any_base=False)


def test_what_the_search_did_not_record_is_refused(folded: Path, tmp_path: Path) -> None:
    checkpoint = best_checkpoint(folded)
    swapped = tmp_path / "search"
    import shutil

    shutil.copytree(folded, swapped)
    folder = best_checkpoint(swapped).folder
    states = [folder / f"fold_{fold}" / "adapter" for fold in range(FOLDS)]
    for one, other in ((states[0], tmp_path / "aside"), (states[1], states[0]), (tmp_path / "aside", states[1])):
        one.rename(other)
    with pytest.raises((NotReproducedError, CheckpointError)):
        export_adapter(swapped, best_checkpoint(swapped), tmp_path / "export", final="ensemble")
    assert not (tmp_path / "export").exists() and checkpoint.folds == FOLDS


def refitted(folder: Path, checkpoint: TrialCheckpoint) -> None:
    """Trains the checkpoint's configuration on all images for an epoch, as a search's refit."""
    lane = SearchSettings.load(folder).lane.model_copy(update={"runs_sam2": checkpoint.config.runs_sam2})
    bench = Workbench.open(lane, read_names(folder), rank=0, world_size=1, on_all=True)
    trial = bench.trial(checkpoint.config)
    next(trial.epochs())
    trial.save(checkpoint.refit_folder)
    trial.close()


def test_a_refit_that_adapts_an_encoder_is_checked_with_that_encoder(tmp_path: Path) -> None:
    """On the base's features it would score something else, and no such winner could be exported."""
    folder = make_search(tmp_path, trials=("cc",), images=6, folds=FOLDS)
    checkpoint = best_checkpoint(folder)
    refitted(folder, checkpoint)
    tuned = export_adapter(folder, checkpoint, tmp_path / "export", final="refit")
    assert tuned.final == "refit" and tuned.verification.difference <= 1e-6


def test_a_refit_scores_what_was_recorded_on_all_images(folded: Path, tmp_path: Path) -> None:
    checkpoint, to = best_checkpoint(folded), tmp_path / "export"
    with pytest.raises(UserError, match="was not trained again on all images"):
        export_adapter(folded, checkpoint, to, final="refit")
    refitted(folded, checkpoint)
    tuned = export_adapter(folded, checkpoint, to, final="refit")
    assert tuned.final == "refit" and tuned.verification.difference <= 1e-6
    state = checkpoint.refit_folder / "state.json"
    wrong = json.loads(state.read_text())
    wrong["progress"]["val_dice"] += 0.01
    state.write_text(json.dumps(wrong))
    with pytest.raises(CheckpointError, match="trained on all images scores Dice"):
        export_adapter(folded, checkpoint, tmp_path / "again", final="refit")


def test_a_merged_fold_scores_what_its_fold_did(folded: Path, tmp_path: Path) -> None:
    checkpoint = best_checkpoint(folded)
    tuned = export_merged(folded, checkpoint, tmp_path / "merged")
    assert tuned.fold is not None and tuned.verification.recorded_val_dice == checkpoint.fold_dice(tuned.fold)
