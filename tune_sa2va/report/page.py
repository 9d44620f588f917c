"""Joins templates, style, scripts and figures into one HTML text that loads nothing.

The templates escape every text. The content security policy allows only our two scripts, identified by their hashes.
So even markup in a name that was not escaped could neither run nor fetch anything.
"""

import base64
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from tune_sa2va.distribution import package_version
from tune_sa2va.report.figure import THEMES, Figure

_ASSETS = Path(__file__).parent / "assets"


def render(template: str, figures: list[Figure], values: Mapping[str, Any]) -> str:
    """The page as HTML. template: `report.html` or `compare.html`. values: all that the template uses."""
    environment = Environment(loader=FileSystemLoader(_ASSETS), autoescape=True, undefined=StrictUndefined)
    plotly, draw = _asset("plotly-basic.min.js"), _asset("draw.js")
    return environment.get_template(template).render(
        **values,
        figures={figure.key: figure for figure in figures},
        figures_json=_embedded({f.key: json.loads(f.plot.to_json()) for f in figures if f.plot is not None}),
        themes_json=_embedded(THEMES),
        style=Markup(_asset("style.css")),
        plotly=Markup(plotly),
        draw=Markup(draw),
        script_hashes=Markup(" ".join(map(_hash, (plotly, draw)))),
        version=package_version(),
    )


def _asset(name: str) -> str:
    # Reading as text turns line ends into \n, as the browser's parser does before it computes the hash.
    return (_ASSETS / name).read_text(encoding="utf-8")


def _embedded(content: Any) -> Markup:
    """The content as JSON without < and >, so that it cannot end the script element around it."""
    text = json.dumps(content, allow_nan=False).replace("<", "\\u003c").replace(">", "\\u003e")
    return Markup(text)


def _hash(script: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"
