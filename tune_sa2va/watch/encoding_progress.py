"""Counts how many images of a search are encoded. Lanes fill the feature cache before their first trial."""

import torch

from tune_sa2va.cache.store import FeatureCache, pictures
from tune_sa2va.data.split_file import read_split
from tune_sa2va.model.locate import model_folder
from tune_sa2va.results.settings import SearchSettings


class Encoding:
    """Counts the feature files that lanes have written."""

    def __init__(self, settings: SearchSettings) -> None:
        """Reads the split and hashes the images, to know the names of all feature files.

        Raises:
            UserError: data, model or cache cannot be read.
        """
        lane = settings.lane
        samples = read_split(settings.folder, settings.data)
        train, val = ([sample for sample in samples if sample.split == part] for part in ("train", "val"))
        dtype = torch.bfloat16 if lane.model.plain_precision == "bf16" else torch.float32
        cache = FeatureCache(
            lane.feature_cache, model_folder(lane.model.model), dtype, raw_high_res=lane.raw_high_res
        )  # fmt: skip
        self._files = {cache.path(picture) for picture in (*pictures(train, lane.augment), *pictures(val, "none"))}
        cache.close()

    def count(self) -> tuple[int, int]:
        """(encoded pictures, all pictures)."""
        return sum(file.exists() for file in self._files), len(self._files)
