"""The main job: flags and space in, Ray and Optuna put together, records out.

The package can be called, as notebooks do: `from tune_sa2va import search; results = search(data="frames")`. A function
of its name would be hidden by the package as soon as any module of it is imported.
"""

import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tune_sa2va.results.load import Results


class _CallablePackage(ModuleType):
    def __call__(self, **settings: Any) -> "Results":
        """`tune_sa2va.search.python_api.search`."""
        from tune_sa2va.search.python_api import search

        return search(**settings)


sys.modules[__name__].__class__ = _CallablePackage
