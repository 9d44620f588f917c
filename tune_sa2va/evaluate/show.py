"""Shows an evaluation as tables, or as plain values for JSON."""

import math
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from tune_sa2va.evaluate.bootstrap import Interval
from tune_sa2va.evaluate.part import Part
from tune_sa2va.evaluate.scores import MEASURES, ImageScores, SegShare, TextDice, means, of_texts
from tune_sa2va.printable import printable
from tune_sa2va.words import count

_HEADINGS = dict(
    zip(MEASURES, ("Dice", "IoU", "recall", "precision", "clDice", "HD95, px", "Betti error"), strict=True)
)
_WORST = 10


def print_scores(part: Part, images: Sequence[ImageScores], thresholds: Sequence[float], *, chosen_on: int = 0) -> None:
    """Prints means with intervals, the worst images, and whether the model wrote [SEG].

    chosen_on: number of images on which the last threshold was just chosen; 0 if it is the model's own.
    """
    console = Console(highlight=False, soft_wrap=True)
    if part.note:
        console.print(Text(part.note))
    if chosen_on:
        console.print(
            Text(f"Threshold {thresholds[-1]:g}: chosen by Dice on the search's {chosen_on} validated images.")
        )
    num_groups = len({image.group for image in images})
    counted = f"{count(len(images), 'image')} of {count(num_groups, 'group')}"
    title = f"{part.name}: {counted}, mean [95% bootstrap interval over groups]"
    table = Table(title=title, title_justify="left")
    table.add_column("measure")
    for threshold in thresholds:
        table.add_column(f"at {threshold:g}", no_wrap=True)
    columns = [means(images, threshold) for threshold in thresholds]
    for measure, heading in _HEADINGS.items():
        table.add_row(heading, *(_cell(column[measure], digits=_digits(measure)) for column in columns))
    console.print(table)
    if by_text := of_texts(images, thresholds[-1]):
        console.print(_text_table(by_text, thresholds[-1]))
    console.print(_worst(images, thresholds[-1]))
    if (share := SegShare.of(images)) is not None:
        console.print(Text(seg_sentence(share, images)))


def seg_sentence(share: SegShare, images: Sequence[ImageScores]) -> str:
    """One sentence about the answers that the model wrote by itself."""
    start = f"The model writes [SEG] by itself for {share.written} of {share.asked} images"
    if share.written == share.asked:
        return f"{start}."
    silent = [image.label for image in images if image.wrote_seg is False]
    named = f"{', '.join(silent[:_WORST])}{', ...' if len(silent) > _WORST else ''}"
    if share.is_broken:
        return (
            f"{start}: it is broken for use in Sa2VA's chat, where only a written [SEG] gives a mask. Train with "
            f"loss.lm above 0, or use forced answers. Not written for: {named}."
        )
    return f"{start}; not for: {named}."


def to_plain(part: Part, images: Sequence[ImageScores], thresholds: Sequence[float]) -> dict[str, Any]:
    """The evaluation as values for JSON, with every image; None in place of NaN and of what was not evaluated."""
    share = SegShare.of(images)
    return {
        "part": part.name,
        "note": part.note,
        "num_images": len(images),
        "scores": [
            {"threshold": threshold} | {name: _plain(interval) for name, interval in means(images, threshold).items()}
            for threshold in thresholds
        ],
        "texts": [
            {
                "text": each.text,
                "dice": _plain(each.dice),
                "num_images": each.num_images,
                "num_absent": each.num_absent,
                "num_false_alarms": each.num_false_alarms,
            }
            for each in of_texts(images, thresholds[-1])
        ],
        "seg": share and {"written": share.written, "asked": share.asked, "broken": share.is_broken},
        "images": [_plain_image(image) for image in images],
    }


def _text_table(by_text: Sequence[TextDice], threshold: float) -> Table:
    table = Table(title=f"Text by text, Dice at {threshold:g}; each text weighs the same", title_justify="left")
    for heading in ("text", "images", "absent", "false alarms", "Dice"):
        table.add_column(heading, overflow="fold")
    for each in by_text:
        counts = (str(each.num_images), str(each.num_absent), str(each.num_false_alarms) if each.num_absent else "")
        table.add_row(Text(printable(each.text)), *counts, _cell(each.dice, digits=3))
    return table


def _worst(images: Sequence[ImageScores], threshold: float) -> Table:
    scored = [image for image in images if not math.isnan(image.at[threshold]["dice"])]
    scored.sort(key=lambda image: image.at[threshold]["dice"])
    table = Table(title=f"Worst by Dice at {threshold:g}", title_justify="left")
    for heading in ("image", "text", "Dice", "recall", "precision"):
        table.add_column(heading, overflow="fold")
    for image in scored[:_WORST]:
        cells = (f"{image.at[threshold][measure]:.3f}" for measure in ("dice", "recall", "precision"))
        table.add_row(Text(printable(image.label)), Text(printable(image.text)), *cells)
    return table


def _cell(interval: Interval, *, digits: int) -> str:
    if math.isnan(interval.mean):
        return "-"
    if math.isnan(interval.low):
        return f"{interval.mean:.{digits}f}"
    return f"{interval.mean:.{digits}f} [{interval.low:.{digits}f}, {interval.high:.{digits}f}]"


def _digits(measure: str) -> int:
    return 1 if measure in ("hd95_px", "betti_error") else 3


def _plain(interval: Interval) -> dict[str, float | None]:
    return {"mean": _number(interval.mean), "low": _number(interval.low), "high": _number(interval.high)}


def _plain_image(image: ImageScores) -> dict[str, Any]:
    scores: list[dict[str, float | None]] = [
        {"threshold": threshold, **{name: _number(value) for name, value in values.items()}}
        for threshold, values in image.at.items()
    ]
    return {"image": image.label, "text": image.text, "wrote_seg": image.wrote_seg, "scores": scores}


def _number(value: float) -> float | None:
    return None if math.isnan(value) else value
