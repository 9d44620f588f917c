"""Where features and the built-in images are kept between searches."""

import os
from pathlib import Path

CACHE_VARIABLE = "TUNE_SA2VA_CACHE"


def cache_folder() -> Path:
    """$TUNE_SA2VA_CACHE, or ~/.cache/tune_sa2va; absolute."""
    given = os.environ.get(CACHE_VARIABLE)
    return Path(given).expanduser().resolve() if given else Path.home() / ".cache" / "tune_sa2va"


def features_folder() -> Path:
    """What `FeatureCache` takes as its root."""
    return cache_folder() / "features"
