"""The installed package: its version, for whoever says or records it."""

import sys
from importlib import metadata
from pathlib import Path

from tune_sa2va.errors import UserError

NAME = "tune-sa2va"


def package_version() -> str:
    """Of this package.

    Raises:
        UserError: its source is on the path and was never installed, so that nobody knows what it needs.
    """
    try:
        return metadata.version(NAME)
    except metadata.PackageNotFoundError:
        source = Path(__file__).parents[1]
        raise UserError(
            f"{source}: tune_sa2va runs from its source and is not installed, so its version and what it needs are not "
            f"known. Install it: {sys.executable} -m pip install -e {source}"
        ) from None
