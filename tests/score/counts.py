"""Writes a search's split and the counts of its scored images, without images."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from tune_sa2va.data.split_file import _NAMES_SCHEMA, NAMES_FILE
from tune_sa2va.results.settings import SearchSettings
from tune_sa2va.results.val_counts import FOLDER

IMAGES, GROUPS = 24, 12
SPREAD = np.random.default_rng(0).uniform(-0.1, 0.1, IMAGES)
"""Offsets of the images' scores for one model: some images are harder than others."""


def write_names(settings: SearchSettings, *, images: int = IMAGES) -> None:
    """Validation images of 12 groups, in three folds."""
    rows = [
        {
            "image_code": f"image {number:02d}", "group_code": f"group {number % GROUPS:02d}", "text": "vessel",
            "split": "train", "fold": number % 3, "name": f"{number}.png", "group": str(number % GROUPS),
        }
        for number in range(images)
    ]  # fmt: skip
    pq.write_table(pa.Table.from_pylist(rows, schema=_NAMES_SCHEMA), settings.folder / NAMES_FILE)


def write_counts(settings: SearchSettings, trial_id: str, dices: Mapping[int, Sequence[float]]) -> None:
    """Writes a trial's counts. dices: epoch -> Dice of each image, rounded to a thousandth."""
    tables = []
    for epoch, of_images in dices.items():
        tp = np.rint(1_000 * np.asarray(of_images)).astype(int)
        codes = [f"image {number:02d}" for number in range(len(tp))]
        rows = {"epoch": epoch, "image_code": codes, "text": "vessel", "tp": tp, "fp": 1_000 - tp, "fn": 1_000 - tp}
        tables.append(pd.DataFrame(rows).assign(tn=0))
    (settings.folder / FOLDER).mkdir(exist_ok=True)
    pd.concat(tables).to_parquet(settings.folder / FOLDER / f"{trial_id}.parquet")
