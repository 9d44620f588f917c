"""Scores the winner, the recipe and the untuned base on the locked test part, once, on the same images.

The base is in bf16 even if the search was in fp8, as it is where the export is used.

This runs where the lanes ran, as a Ray task with its own GPU, since the process that drives a cluster may have none.
The node of the task need not see the results folder: it gets names and adapters, and returns rows and masks.
"""

import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import ray
import torch
from jaxtyping import UInt8

from tune_sa2va.cache.again import with_sound_features
from tune_sa2va.data.codes import group_codes, image_code
from tune_sa2va.data.parts import scored_of
from tune_sa2va.data.png import to_png
from tune_sa2va.data.split_file import Names, find_samples, read_names
from tune_sa2va.durable_table import write_table
from tune_sa2va.evaluate.examples import Examples
from tune_sa2va.evaluate.members import Members
from tune_sa2va.evaluate.metrics import count
from tune_sa2va.evaluate.out_of_fold import out_of_fold
from tune_sa2va.evaluate.predict import predict
from tune_sa2va.evaluate.scores import mask_scores
from tune_sa2va.evaluate.threshold import DEFAULT_THRESHOLD, choose_threshold, logit_of
from tune_sa2va.evaluate.tuned import read_tuned
from tune_sa2va.lane.messages import Files, write_files
from tune_sa2va.model.sa2va import Sa2VA
from tune_sa2va.propose.warm_start import read_inherited
from tune_sa2va.results.settings import SearchSettings
from tune_sa2va.results.test_scores import AT_DEFAULT, AT_OWN, MASKS_FOLDER, OPENINGS, SCORES_FILE, mask_name
from tune_sa2va.score.tasks import failures_in_codes, result_of
from tune_sa2va.train.workbench import open_examples, open_model

_SCHEMA = pa.schema(
    [
        *((name, pa.string()) for name in ("row", "checkpoint", "image_code", "group_code", "text")),
        ("at", pa.string()),
        ("threshold", pa.float64()),
        *((part, pa.int64()) for part in ("tp", "fp", "fn", "tn")),
        *((measure, pa.float64()) for measure in ("dice", "cl_dice", "hd95_px", "betti_error")),
    ],
    metadata={"schema_version": "3"},
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Contender:
    """A model to score. row: its name in the final table. checkpoint: words that identify what is scored.

    adapters: the files of each adapter; several form an ensemble, none means the untuned base. folds: the files of the
    folds' adapters, which predict the images of their own folds to choose the threshold; empty if `adapters` predict
    the val part for that.
    """

    row: str
    checkpoint: str
    adapters: tuple[Files, ...] = ()
    folds: tuple[Files, ...] = ()


def score_test_part(settings: SearchSettings, contenders: list[Contender]) -> None:
    """Scores the contenders and writes `test_scores.parquet` and the masks. Needs a running Ray with a free device.

    A contender that is in the file already is not scored again. So a search that is resumed after its end, or extended,
    opens the locked part only for a new winner. The file counts how often it was opened.

    Raises:
        UserError: an image, a model or an adapter cannot be used.
    """
    entries, openings = _read(settings.folder)
    known = [row for row in entries if row["checkpoint"] in {c.checkpoint for c in contenders}]
    rows = {
        contender.row: [
            entry | {"row": contender.row} for entry in known if entry["checkpoint"] == contender.checkpoint
        ]
        for contender in contenders
    }
    if missing := [contender for contender in contenders if not rows[contender.row]]:
        task = ray.remote(num_cpus=0, num_gpus=1 if settings.gpus else 0, max_retries=1)(_score)
        found, masks = result_of(task.remote(settings, read_names(settings.folder), missing))
        write_files(masks, settings.folder / MASKS_FOLDER)
        rows |= found
        openings += 1
    scored = [entry for contender in contenders for entry in rows[contender.row]]
    _write(settings.folder / SCORES_FILE, scored, openings)


def _score(
    settings: SearchSettings, names: Names, contenders: list[Contender]
) -> tuple[dict[str, list[dict[str, Any]]], dict[str, UInt8[np.ndarray, " bytes"]]]:
    """The rows of each contender, and the files of all masks: name -> PNG bytes."""
    with failures_in_codes(names, settings.data):
        return with_sound_features(lambda: _score_all(settings, names, contenders))


def _score_all(
    settings: SearchSettings, names: Names, contenders: list[Contender]
) -> tuple[dict[str, list[dict[str, Any]]], dict[str, UInt8[np.ndarray, " bytes"]]]:
    torch.set_num_threads(settings.cpus_per_worker)
    device = torch.device("cuda") if settings.gpus else torch.device("cpu")
    model = open_model(settings.model.plain, device)
    samples = find_samples(names, settings.data)
    groups = group_codes(samples)
    test = [sample for sample in samples if sample.split == "test"]
    examples = open_examples(model, settings.lane, test, device)
    validated = open_examples(model, settings.lane, scored_of(samples), device)
    labels = [
        {"image_code": image_code(sample), "group_code": groups[sample.group], "text": sample.text} for sample in test
    ]
    rows: dict[str, list[dict[str, Any]]] = {}
    masks: dict[str, UInt8[np.ndarray, " bytes"]] = {}
    for contender in contenders:
        folds = _attach(model, contender.folds or contender.adapters)
        threshold = choose_threshold(out_of_fold(model, folds, validated), validated.texts)
        folds.detach()
        members = _attach(model, contender.adapters)
        rows[contender.row], found = _score_one(
            contender, examples.for_members(model, members), labels, model, members, threshold
        )
        members.detach()
        masks |= {f"{contender.row}/{name}": content for name, content in found.items()}
    return rows, masks


def _attach(model: Sa2VA, adapters: Sequence[Files]) -> Members:
    with tempfile.TemporaryDirectory(prefix="tune_sa2va-scoring-") as name:
        folders = [Path(name) / str(number) for number in range(len(adapters))]
        for folder, files in zip(folders, adapters, strict=True):
            write_files(files, folder)
        return Members.attach(model, folders)


def _score_one(
    contender: Contender,
    examples: Examples,
    labels: list[dict[str, str]],
    model: Sa2VA,
    members: Members,
    threshold: float,
) -> tuple[list[dict[str, Any]], dict[str, UInt8[np.ndarray, " bytes"]]]:
    """The rows at Sa2VA's threshold and at the contender's own; the masks at Sa2VA's threshold."""
    rows, masks = [], {}
    texts = sorted({label["text"] for label in labels})
    for index, label in enumerate(labels):
        logits = members.mean_logits(lambda index=index: predict(model, examples[index]))  # type: ignore[misc]
        truth = examples.truth(index).numpy()
        for at, value in ((AT_DEFAULT, DEFAULT_THRESHOLD), (AT_OWN, threshold)):
            mask = (logits > logit_of(value)).cpu().numpy()
            if at == AT_DEFAULT:
                name = mask_name(label["image_code"], label["text"], texts)
                masks[name] = np.frombuffer(to_png(mask.astype(np.uint8) * 255), dtype=np.uint8)
            known = {"row": contender.row, "checkpoint": contender.checkpoint, "at": at, "threshold": value}
            rows.append(known | label | asdict(count(mask, truth)) | mask_scores(mask, truth))
    return rows, masks


def _read(folder: Path) -> tuple[list[dict[str, Any]], int]:
    """The rows of the file, and how often the test part was opened.

    Without the file there are no rows. Then the part was opened by the search of a warm start, or by this search, if
    its file was lost after an export.
    """
    path = folder / SCORES_FILE
    if not path.exists():
        inherited, exported = (
            read_inherited(folder),
            read_tuned(folder / "best_adapter"),
        )  # the latter if the file was lost
        before = 0 if inherited is None else inherited.test_openings
        return [], before if exported is None else max(before, exported.metrics.test_openings)
    table = pq.read_table(path)
    return table.to_pylist(), int(table.schema.metadata[OPENINGS])


def _write(path: Path, rows: list[dict[str, Any]], openings: int) -> None:
    schema = _SCHEMA.with_metadata({**_SCHEMA.metadata, OPENINGS: str(openings)})
    write_table(path, pa.Table.from_pylist(rows, schema=schema))
