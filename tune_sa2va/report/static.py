"""Writes figures as PNG and SVG files, drawn by this machine's Chromium or Chrome through kaleido."""

import logging
from pathlib import Path

import kaleido
import plotly.graph_objects as go
from choreographer.browsers import chromium

from tune_sa2va.report.figure import THEMES, Figure

_WIDTH_PX = 800


def write_figures(folder: Path, figures: list[Figure]) -> str:
    """Writes KEY.png and KEY.svg of each figure to `folder`, on white. Returns a sentence on what was done, or why not.

    Without a browser on this machine nothing is written. The page is complete all the same, and the menu of a figure in
    it can save that figure as SVG.
    """
    if chromium.Chromium.find_browser(skip_local=False) is None:
        return (
            "Figures as PNG and SVG were left out: no Chromium or Chrome was found. Install one (apt install chromium, "
            "or plotly_get_chrome), or save single figures in the page with the camera button in their menu."
        )
    folder.mkdir(exist_ok=True)
    logging.getLogger("kaleido").setLevel(logging.ERROR)
    drawn = [(figure.key, _on_white(figure.plot)) for figure in figures if figure.plot is not None]
    kaleido.write_fig_from_object_sync(
        [
            {
                "fig": plot,
                "path": folder / f"{key}.{kind}",
                "opts": {"format": kind, "scale": 2 if kind == "png" else 1},
            }
            for key, plot in drawn
            for kind in ("png", "svg")
        ],
        kopts={"mathjax": False},
    )
    return f"{len(drawn)} figures as PNG and SVG: {folder}"


def _on_white(plot: go.Figure) -> go.Figure:
    """A copy with a white background; figures in the page have a transparent one."""
    copy = go.Figure(plot)
    copy.update_layout(template=THEMES["light"], width=_WIDTH_PX, paper_bgcolor="white", plot_bgcolor="white")
    return copy
