"""A distributed hyperparameter tuner for LoRA fine-tuning of Sa2VA on blood-vessel segmentation.

For notebooks: `from tune_sa2va import search, load_results, load_adapter`. Each is imported on first use, because torch
and Ray take seconds to load.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tune_sa2va.predict.work import load_adapter
    from tune_sa2va.results.load import load_results
    from tune_sa2va.search.python_api import search

__all__ = ["load_adapter", "load_results", "search"]

_MODULES = {"load_adapter": "tune_sa2va.predict.work", "load_results": "tune_sa2va.results.load"}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:  # `search` is a subpackage, which Python finds by itself
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)
