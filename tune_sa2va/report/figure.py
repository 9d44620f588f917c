"""A figure with what to see in it, and the colours and frame that all figures share."""

import html
from dataclasses import dataclass
from typing import Any

import plotly.graph_objects as go

BLUE, ORANGE, GREEN, RED, PURPLE, GREY = "#537de5", "#ee6e1b", "#1baa60", "#ca0825", "#7433fa", "#878e91"
"""Searched for: each of contrast 3 on white and on the dark page, and as far from each other as may be, for normal
eyes and for the three kinds of colour blindness (Machado et al., IEEE TVCG 2009); a test measures it."""

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
"""Plotly templates; the page swaps them with the reader's colour scheme."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Figure:
    """key: file name and anchor. reading: what to see, computed from the run. plot: None where there is too little."""

    key: str
    title: str
    reading: str
    plot: go.Figure | None


def frame(traces: list[go.Scatter | go.Bar], *, height: int, **layout: Any) -> go.Figure:
    """Traces in the shared frame; text in them must be `plain`."""
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
    """Text for a figure with nothing that plotly would take for markup."""
    return html.escape(text, quote=False)
