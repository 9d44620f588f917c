"""Figures of the test part: the differences of single images, and mean differences with their intervals."""

from collections.abc import Mapping, Sequence

import plotly.graph_objects as go

from tune_sa2va.evaluate.paired import Comparison, Word
from tune_sa2va.report.figure import BLUE, GREY, ORANGE, RED, Figure, frame, plain
from tune_sa2va.report.load import Run
from tune_sa2va.results.test_scores import MEASURES, RECIPE, UNTUNED, Measure
from tune_sa2va.words import count

_SHARES = ("dice", "iou", "recall", "precision", "cl_dice")


def image_differences(run: Run) -> Figure:
    """Dice of the winner minus that of the recipe (the untuned base if the recipe has no scores), one bar per image."""
    title = "Test images one by one"
    if run.locked is None:
        return Figure(key="images", title=title, reading="The test part has not been scored.", plot=None)
    other = RECIPE if RECIPE in set(run.locked.scores["row"]) else UNTUNED
    rows = run.locked.paired(other)
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
    plot.update_xaxes(title="images, largest gain first", tick0=1, dtick=max(1, len(rows) // 10))
    plot.update_yaxes(title=f"Dice, winner − {other}")
    reading = (
        f"Compared with the {other}, the winner has a higher Dice on {higher} of {count(len(rows), 'test image')} and "
        f"a lower one on {lower}."
    )
    return Figure(key="images", title=title, reading=reading, plot=plot)


def difference_intervals(compared: Mapping[str, Mapping[str, Comparison]]) -> Figure:
    """Mean differences of the measures that lie in [0, 1], with their intervals.

    compared: other model -> measure's column -> comparison of the winner with that model.
    """
    title = "What tuning changed on the test part"
    measures = [m for m in MEASURES if m.column in _SHARES]
    found = [(m, other, own[m.column]) for other, own in compared.items() if own for m in measures]
    if not found:
        return Figure(key="differences", title=title, reading="There is no other model to compare with.", plot=None)
    traces = []
    for other, colour in ((RECIPE, ORANGE), (UNTUNED, GREY)):
        own = [(m.label, c.difference) for m, model, c in found if model == other][::-1]
        if own:
            traces.append(
                go.Scatter(
                    x=[d.mean for _, d in own], y=[label for label, _ in own], mode="markers",
                    name=f"winner − {other}", marker={"size": 10, "color": colour},
                    error_x={"type": "data", "symmetric": False, "color": colour,
                             "array": [d.high - d.mean for _, d in own],
                             "arrayminus": [d.mean - d.low for _, d in own]},
                )
            )  # fmt: skip
    plot = frame(traces, height=330, scattermode="group")
    plot.add_vline(x=0, line={"color": GREY, "dash": "dot"})
    plot.update_xaxes(title="mean difference, 95% interval over groups")
    return Figure(key="differences", title=title, reading=_intervals_reading(found), plot=plot)


def _intervals_reading(found: Sequence[tuple[Measure, str, Comparison]]) -> str:
    """The verdicts of the tables above, grouped by word."""
    said = ["To the right of 0 the winner has the higher mean."]
    for other in dict.fromkeys(other for _, other, _ in found):
        of_word: dict[Word, list[str]] = {}
        for measure, model, compared in found:
            if model == other:
                of_word.setdefault(compared.word, []).append(measure.label)
        words = "; ".join(f"{word} by {', '.join(labels)}" for word, labels in of_word.items() if word != Word.TOO_FEW)
        few = "too few patients to say" if Word.TOO_FEW in of_word else ""
        said.append(f"Compared with the {other}: {'; '.join(filter(None, (words, few)))}.")
    return " ".join(said)
