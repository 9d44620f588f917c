"""Reads a recording as arrays: the Dice of every image out of its fold, for each configuration, seed and epoch."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from jaxtyping import Float, Int

from tune_sa2va.bench.record.pieces import CONFIGURATIONS_FILE, SPACE_FILE, read_recording
from tune_sa2va.errors import ResultsError
from tune_sa2va.space.search_space import Kind, SearchSpace, encode, load_space


@dataclass(frozen=True, kw_only=True, eq=False)
class Recorded:
    """dice: by configuration, seed, epoch and image, in [0, 1]. fold, group: a number for each image. points: each
    configuration as Optuna's parameters of `space`, the recipe first. places: the points in the unit cube, see `place`.
    """

    name: str
    space: SearchSpace
    dice: Float[np.ndarray, "C S E N"]
    fold: Int[np.ndarray, " N"]
    group: Int[np.ndarray, " N"]
    points: tuple[dict[str, Any], ...]
    places: Float[np.ndarray, "C D"]

    @property
    def num_folds(self) -> int:
        return int(self.fold.max()) + 1

    @property
    def num_seeds(self) -> int:
        return int(self.dice.shape[1])

    @property
    def num_epochs(self) -> int:
        return int(self.dice.shape[2])


def without_full(recorded: Recorded, module: str) -> Recorded:
    """The recording of the configurations that do not train `module` in full: a narrower space with similar scores."""
    kept = [n for n, point in enumerate(recorded.points) if module not in point["train.full_modules"]]
    return replace(
        recorded,
        name=f"{recorded.name}, {module} not in full",
        dice=recorded.dice[kept],
        points=tuple(recorded.points[n] for n in kept),
        places=recorded.places[kept],
    )


def read_recorded(path: Path) -> Recorded:
    """The recording at `path`, with the table of configurations and the space beside it.

    Raises:
        ResultsError: a file cannot be read, or a run does not reach its last epoch.
    """
    table = read_recording(path)
    about = json.loads((table.schema.metadata or {})[b"recording"])
    frame = table.to_pandas()
    frame["dice"] = 2 * frame["tp"] / (2 * frame["tp"] + frame["fp"] + frame["fn"])
    shape = (about["num_configurations"], about["seeds"], about["epochs"])
    wide = frame.pivot(index=["configuration", "seed", "epoch"], columns="image_code", values="dice")
    if len(wide) != np.prod(shape) or wide.isna().to_numpy().any():
        raise ResultsError(
            f"{path}: needs {np.prod(shape)} epochs of every image, got {len(wide)} or fewer. "
            "Finish it with `python -m tune_sa2va.bench record`."
        )
    images = frame.drop_duplicates("image_code").set_index("image_code").loc[list(wide.columns)]
    space = load_space(path.parent / SPACE_FILE)
    points = tuple(_read_points(path.parent / CONFIGURATIONS_FILE, space))
    return Recorded(
        name=about["data"],
        space=space,
        dice=wide.to_numpy().reshape(*shape, len(images)),
        fold=images["fold"].to_numpy(dtype=np.int64),
        group=images["group_code"].cat.codes.to_numpy(dtype=np.int64),
        points=points,
        places=np.array([place(space, point) for point in points]),
    )


def _read_points(path: Path, space: SearchSpace) -> list[dict[str, Any]]:
    rows = pq.read_table(path).sort_by("configuration").to_pylist()
    return [{field: encode(row[field]) for field in space.dimensions} for row in rows]


def place(space: SearchSpace, point: Mapping[str, Any]) -> list[float]:
    """The position of a point in the unit cube: ranges from 0 to 1 (logarithmic if searched so), choices evenly spaced.

    So the opposite ends of any field are 1 apart.
    """
    found = []
    for path, dimension in space.dimensions.items():
        value = point[path]
        if dimension.kind is Kind.CHOICE:
            found.append([encode(each) for each in dimension.values].index(value) / max(1, len(dimension.values) - 1))
            continue
        low, high = dimension.values
        scale = np.log if dimension.kind.is_log else float
        found.append(float((scale(value) - scale(low)) / (scale(high) - scale(low))))
    return found
