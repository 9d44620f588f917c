"""A figure with its caption, and the colours and layout that all figures share."""

import html
from dataclasses import dataclass
from typing import Any

import plotly.graph_objects as go

BLUE, ORANGE, GREEN, RED, PURPLE, GREY = "#537de5", "#ee6e1b", "#1baa60", "#ca0825", "#7433fa", "#878e91"
"""Found by search: each has a contrast of 3 on the light and the dark page, and they differ as much as possible, for
normal vision and for three kinds of colour blindness (Machado et al., IEEE TVCG 2009). A test measures this."""

_FONT = "system-ui, -apple-system, 'Segoe UI', 'Noto Sans', sans-serif"


def _theme(ink: str, grid: str) -> dict[str, Any]:
    axis = {"gridcolor": grid, "linecolor": grid, "zerolinecolor": grid, "tickcolor": grid}
    return {
        "layout": {
            "font": {"color": ink, "family": _FONT, "size": 13},
            "xaxis": axis,
            "yaxis": axis,
            "hoverlabel": {"font": {"family": _FONT}},
        }
    }


THEMES = {"light": _theme("#1f2933", "#d9dee5"), "dark": _theme("#e4e7eb", "#3a424d")}
"""Plotly templates. The page uses the one for the reader's colour scheme."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Figure:
    """A figure of the page. key: its file name and anchor. reading: the caption, computed from the run. plot: None if
    there is too little to draw; the caption says why."""

    key: str
    title: str
    reading: str
    plot: go.Figure | None


def frame(traces: list[go.Scatter | go.Bar], *, height: int, **layout: Any) -> go.Figure:
    """A plot of the traces in the shared layout. height: in pixels. Texts in the traces must be escaped by `plain`."""
    plot = go.Figure(traces)
    plot.update_layout(
        template=None,
        height=height,
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        margin={"l": 8, "r": 12, "t": 12, "b": 8},
        modebar={"bgcolor": "rgba(0,0,0,0)", "color": GREY, "activecolor": BLUE},
        legend={"orientation": "h", "yanchor": "bottom", "y": 1.01, "x": 0},
        **layout,
    )
    plot.update_xaxes(automargin=True)
    plot.update_yaxes(automargin=True)
    return plot


def plain(text: str) -> str:
    """The text, escaped so that plotly does not read any of it as markup."""
    return html.escape(text, quote=False)
