"""Makes a small results folder of a finished search with every file that one has, in two seconds and without Ray.

Tune's own state and the journal are made-up lines: before Ray starts, only their checksums are used.
`tests/drills/test_damage.py` damages those of a real search.
"""

import dataclasses
import hashlib
import json
import shutil
from pathlib import Path

from tests.evaluate import tuned_folder
from tests.report import making
from tests.watch.runs import an_epoch
from tune_sa2va.data import fingerprint
from tune_sa2va.data.known_images import CONTENT_FILE
from tune_sa2va.data.split_file import write_split
from tune_sa2va.model.locate import model_folder
from tune_sa2va.propose.warm_start import Inherited, InheritedTrial, write_inherited
from tune_sa2va.results.environment import write_environment
from tune_sa2va.results.records import RunRecords, TrialState
from tune_sa2va.results.settings import JOURNAL_FILE
from tune_sa2va.results.snapshots import Snapshots
from tune_sa2va.results.val_counts import RECORDS_FILE, VAL_COUNTS, ValCounts

EPOCHS = 2
BEST = "0001"


def finished_search(root: Path) -> Path:
    """Makes a search of two trials of two epochs; the last one wins. Data, adapter and results are in `root`."""
    folder = root / "run"
    parts = ("train", "train", "train", "train", "val", "val", "val", "val", "val", "test")
    samples = tuple(
        dataclasses.replace(sample, split=part)
        for sample, part in zip(making.data_set(root / "data"), parts, strict=True)
    )
    settings = making.settings(folder, root / "data", trials=2, epochs=EPOCHS, lanes=1, warm_start=root / "earlier")
    write_split(folder, samples)
    write_environment(folder, model="tiny", model_folder=model_folder("tiny"), data_fingerprint=fingerprint(samples))
    _inherit(folder)
    journal, tune, snapshots = folder / JOURNAL_FILE, settings.tune_folder, Snapshots(folder)
    tune.mkdir(parents=True)
    records, counts = RunRecords.open(folder), ValCounts(folder)
    for number, config in enumerate(making.configs(2)):
        trial = f"{number:04d}"
        records.trial_started(trial, number, config, "lane 1")
        told = []
        for epoch in range(1, EPOCHS + 1):
            record = an_epoch(epoch, 0.5 + epoch / 100 + number / 10)
            records.epoch(trial, record)
            told.append(record | {VAL_COUNTS: [[9, number, epoch, 99]] * 5})
            counts.epoch(trial, epoch, told[-1][VAL_COUNTS])
        records.trial_ended(trial, TrialState.COMPLETE)
        _checkpoint(settings.checkpoints / trial / f"checkpoint_{EPOCHS:04d}", config.to_dict(), told)
        with journal.open("a") as file:
            file.write(f'{{"trial": {number}}}\n')
        (tune / trial / "checkpoint_000001").mkdir(parents=True)
        (tune / trial / "checkpoint_000001" / "epoch.json").write_text(json.dumps({"epoch": EPOCHS}))
        for name in ("experiment_state-1.json", "search_gen_state-1.json", "searcher-state-1.pkl"):
            (tune / name).write_text(f"{name} after trial {number}")
        snapshots.take(tune)
    made = tuned_folder.make(root / "exported")
    shutil.copytree(made.adapter, folder / "best_adapter")
    shutil.copyfile(folder / CONTENT_FILE, folder / "best_adapter" / CONTENT_FILE)
    making.score(folder, samples)
    (folder / "summary.txt").write_text("The winner.\n")
    (folder / "lock.json").write_text(json.dumps({"host": "here", "pid": 1, "started_at": "2026-01-01T00:00:00"}))
    (folder / "logs").mkdir()
    (folder / "logs" / "0000.log").write_text("started\n")
    (folder / "ray" / "copy.json").write_text("[]")
    return folder


def _checkpoint(folder: Path, config: dict[str, object], records: list[dict[str, object]]) -> None:
    (folder / "adapter").mkdir(parents=True)
    (folder / "adapter" / "adapter_model.safetensors").write_bytes(bytes(range(200)))
    (folder / "adapter" / "adapter_config.json").write_text("{}")
    files = [path for path in folder.rglob("*") if path.is_file()]
    sums = {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
    (folder / "state.json").write_text(json.dumps({"config": config, "progress": {"epoch": EPOCHS}, "sha256": sums}))
    (folder / RECORDS_FILE).write_text(json.dumps(records))


def _inherit(folder: Path) -> None:
    trial = InheritedTrial(trial_id="0001", point={"lora.r": 8}, val_dice=0.5)
    told = Inherited(source="earlier", same_data=True, differences=(), left_out=0, trials=(trial,))
    write_inherited(folder, told)
