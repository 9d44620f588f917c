"""The locked test part, scored once: the winner, the user's recipe and the untuned base on the same images."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import torch

from tune_sa2va.data import Sample
from tune_sa2va.data.split_file import read_split
from tune_sa2va.evaluate.metrics import Counts
from tune_sa2va.evaluate.predict import pixel_counts, predict, to_counts
from tune_sa2va.model.adapter import load_adapter
from tune_sa2va.search.settings import SearchSettings
from tune_sa2va.train.workbench import open_examples, open_model

TestScores = dict[str, list[Counts]]
"""Label -> counts of each test image, in the order of the split file."""

_SCHEMA = pa.schema(
    [
        *(("row", pa.string()), ("name", pa.string()), ("text", pa.string()), ("group", pa.string())),
        *((part, pa.int64()) for part in ("tp", "fp", "fn", "tn")),
    ],
    metadata={"schema_version": "1"},
)


def score_test_part(settings: SearchSettings, adapters: Mapping[str, Path | None]) -> TestScores:
    """Counts on every test image with each adapter (None: the base as it is), at threshold 0.5, on its own pixels."""
    device = torch.device("cuda") if settings.gpus and torch.cuda.is_available() else torch.device("cpu")
    model = open_model(settings.model, device)
    samples = [s for s in read_split(settings.folder, settings.data) if s.split == "test"]
    examples = open_examples(model, settings.lane, samples, device)
    scores: TestScores = {}
    for label, folder in adapters.items():
        adapter = load_adapter(model, folder) if folder is not None else None
        rows = []
        for index in range(len(examples)):
            example = examples[index]
            rows.append(pixel_counts(predict(model, example), example.truth))
        scores[label] = to_counts(torch.stack(rows))
        if adapter is not None:
            adapter.detach()
    _write(settings.folder / "test_scores.parquet", scores, samples)
    return scores


def _write(path: Path, scores: TestScores, samples: list[Sample]) -> None:
    rows = [
        {"row": label, "name": sample.name, "text": sample.text, "group": sample.group, **asdict(counts)}
        for label, all_counts in scores.items()
        for sample, counts in zip(samples, all_counts, strict=True)
    ]
    temporary = path.with_suffix(".tmp")
    pq.write_table(pa.Table.from_pylist(rows, schema=_SCHEMA), temporary)
    temporary.replace(path)
