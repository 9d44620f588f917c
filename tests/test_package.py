"""`from tune_sa2va import ...` gives its three names, and imports nothing heavy before they are used."""

import subprocess
import sys

import pytest

import tune_sa2va

_LIGHT = """
import sys
import tune_sa2va
from tune_sa2va import search
assert callable(search)
assert not {"torch", "ray", "pandas", "optuna"} & set(sys.modules), "heavy"
import tune_sa2va.results.records
from tune_sa2va import load_results, search as again
assert again is search and callable(load_results)
assert not {"torch", "ray"} & set(sys.modules), "heavy"
"""


def test_importing_it_is_light_and_search_stays_what_it_is() -> None:
    ran = subprocess.run([sys.executable, "-c", _LIGHT], capture_output=True, text=True, timeout=120)
    assert ran.returncode == 0, ran.stderr


def test_names_and_nothing_else() -> None:
    for name in tune_sa2va.__all__:
        assert callable(getattr(__import__("tune_sa2va", fromlist=[name]), name))
    with pytest.raises(AttributeError, match="serach"):
        tune_sa2va.serach  # noqa: B018
