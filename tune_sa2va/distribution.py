"""The version of the installed package."""

import sys
from importlib import metadata
from pathlib import Path

from tune_sa2va.errors import UserError

NAME = "tune-sa2va"


def package_version() -> str:
    """The version of this package, as pip knows it.

    Raises:
        UserError: the source is on Python's path but was never installed.
    """
    try:
        return metadata.version(NAME)
    except metadata.PackageNotFoundError:
        source = Path(__file__).parents[1]
        raise UserError(
            f"{source}: tune_sa2va runs from its source and is not installed, so its version and what it needs are not "
            f"known. Install it: {sys.executable} -m pip install -e {source}"
        ) from None
