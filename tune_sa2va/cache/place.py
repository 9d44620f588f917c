"""The folder in which features and the built-in images are kept between searches."""

import os
from pathlib import Path

from tune_sa2va.errors import CacheError

CACHE_VARIABLE = "TUNE_SA2VA_CACHE"


def cache_folder() -> Path:
    """$TUNE_SA2VA_CACHE, or ~/.cache/tune_sa2va if it is not set; absolute.

    Raises:
        UserError: the variable is not set and the user has no home folder (as with --user in a container).
    """
    given = os.environ.get(CACHE_VARIABLE)
    try:
        return Path(given or "~/.cache/tune_sa2va").expanduser().resolve()
    except RuntimeError as error:
        raise CacheError(f"this user has no home folder for features. Set HOME, or {CACHE_VARIABLE}.") from error


def features_folder() -> Path:
    """The folder of all features: the root for `FeatureCache`."""
    return cache_folder() / "features"
