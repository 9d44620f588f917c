"""The main job: takes flags and a search space, runs Ray Tune with Optuna, and writes records.

The package itself can be called, which is how notebooks start a search: `from tune_sa2va import search;
results = search(data="frames")`. A function named `search` in `tune_sa2va` would not do: importing any module of this
package would replace it with the package.
"""

import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tune_sa2va.results.load import Results


class _CallablePackage(ModuleType):
    def __call__(self, **settings: Any) -> "Results":
        """Calls `tune_sa2va.search.python_api.search`."""
        from tune_sa2va.search.python_api import search

        return search(**settings)


sys.modules[__name__].__class__ = _CallablePackage
