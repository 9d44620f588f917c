"""Figures of the test part: image by image, and the differences with their intervals."""

import plotly.graph_objects as go

from tune_sa2va.report.figure import BLUE, GREY, ORANGE, RED, Figure, frame, plain
from tune_sa2va.report.load import Run
from tune_sa2va.report.test_part import RECIPE, UNTUNED, Comparison, paired, with_overlap
from tune_sa2va.report.words import count

_SHARES = ("dice", "iou", "recall", "precision", "cl_dice")


def image_differences(run: Run) -> Figure:
    """Dice of the winner less that of the recipe (else the base), a bar an image."""
    title = "Test images one by one"
    scores = with_overlap(run.test_scores) if run.test_scores is not None else None
    if scores is None:
        return Figure(key="images", title=title, reading="The test part has not been scored.", plot=None)
    other = RECIPE if RECIPE in set(scores["row"]) else UNTUNED
    rows = paired(scores, other)
    rows["difference"] = rows["dice_winner"] - rows["dice_other"]
    rows = rows[rows["difference"].notna()].sort_values("difference", ascending=False)
    higher, lower = int((rows["difference"] > 0).sum()), int((rows["difference"] < 0).sum())
    names = [plain(run.names.label(code)) for code in rows["image_code"]]
    bars = go.Bar(
        x=list(range(1, len(rows) + 1)), y=rows["difference"].tolist(),
        marker={"color": [BLUE if d >= 0 else RED for d in rows["difference"]]},
        text=[f"{name}: {d:+.3f}" for name, d in zip(names, rows["difference"], strict=True)],
        hoverinfo="text", textposition="none",
    )  # fmt: skip
    plot = frame([bars], height=320)
    plot.update_xaxes(title="images, most gained first")
    plot.update_yaxes(title=f"Dice, winner − {other}")
    reading = (
        f"The winner has the higher Dice on {higher} of {count(len(rows), 'test image')} and the lower one on {lower}, "
        f"beside the {other}."
    )
    return Figure(key="images", title=title, reading=reading, plot=plot)


def difference_intervals(comparisons: list[Comparison]) -> Figure:
    """Mean differences of the measures that lie in [0, 1], with their intervals."""
    title = "What tuning changed on the test part"
    shown = [c for c in comparisons if c.measure.column in _SHARES]
    if not shown:
        return Figure(key="differences", title=title, reading="There is no other row to compare with.", plot=None)
    traces = []
    for other, colour in ((RECIPE, ORANGE), (UNTUNED, GREY)):
        own = [c for c in shown if c.other == other][::-1]
        if own:
            traces.append(
                go.Scatter(
                    x=[c.difference.mean for c in own], y=[c.measure.label for c in own], mode="markers",
                    name=f"winner − {other}", marker={"size": 10, "color": colour},
                    error_x={"type": "data", "symmetric": False, "color": colour,
                             "array": [c.difference.high - c.difference.mean for c in own],
                             "arrayminus": [c.difference.mean - c.difference.low for c in own]},
                )
            )  # fmt: skip
    plot = frame(traces, height=330, scattermode="group")
    plot.add_vline(x=0, line={"color": GREY, "dash": "dot"})
    plot.update_xaxes(title="mean difference, 95% interval")
    ties = [f"{c.measure.label} against the {c.other}" for c in shown if c.verdict == "tie"]
    said = "Right of 0 the winner is better. "
    said += f"Ties, where the interval holds 0: {', '.join(ties)}." if ties else "No interval holds 0."
    return Figure(key="differences", title=title, reading=said, plot=plot)
