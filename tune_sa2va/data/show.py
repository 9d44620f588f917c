"""Shows what `check` found, as tables or as plain values for JSON."""

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, get_args

import numpy as np
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from tune_sa2va.data.check import CheckReport
from tune_sa2va.data.sample import Sample, Split
from tune_sa2va.data.speech import Speech
from tune_sa2va.data.split import split_by_group
from tune_sa2va.errors import DataError
from tune_sa2va.printable import printable
from tune_sa2va.words import count, listed

_NAMED = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class Parts:
    """The split that a search with this seed would make. samples: empty if it cannot; `why_not` says why."""

    seed: int
    samples: tuple[Sample, ...]
    why_not: str

    @classmethod
    def of(cls, report: CheckReport, seed: int) -> "Parts":
        try:
            return cls(seed=seed, samples=split_by_group(report.samples, seed=seed), why_not="")
        except DataError as error:
            return cls(seed=seed, samples=(), why_not=str(error))


def print_report(report: CheckReport, *, seed: int, codes: bool | None, with_groups: bool = False) -> None:
    """Prints the problems of a data set, a summary of its usable samples, and its parts for `seed`.

    with_groups: also print every group.
    codes: whether to call images and groups by codes; None: only if standard output is not a terminal.
    """
    console, speech, parts = Console(), Speech.of(report, codes=codes), Parts.of(report, seed)
    if report.problems:
        _print_whole(console, _problem_table(report, speech))
    _print_whole(console, _summary_table(report, speech))
    if not report.samples:
        return
    if len({sample.text for sample in report.samples}) > 1 or 0.0 in report.foreground:
        _print_whole(console, _text_table(report))
    _print_whole(console, _part_table(parts, speech))
    if with_groups:
        _print_whole(console, _group_table(report, parts, speech))


def to_plain(report: CheckReport, *, seed: int, codes: bool | None) -> dict[str, Any]:
    """What `print_report` prints with all groups, as plain values for JSON."""
    speech, parts = Speech.of(report, codes=codes), Parts.of(report, seed)
    part_of = {sample.group: sample.split for sample in parts.samples}
    return {
        "data": speech.folder(report.root),
        "images": report.num_images,
        "samples": len(report.samples),
        "groups": [
            {"group": speech.file(group), "part": part_of.get(group), "images": [speech.file(name) for name in names]}
            for group, names in _images_of_group(report.samples).items()
        ],
        "texts": [{"text": text} | counted for text, counted in _counts_of_text(report).items()],
        "seed": seed,
        "parts": {part: _counts_of_part(parts, part) for part in get_args(Split)} if parts.samples else None,
        "sizes_px": sorted(set(report.sizes_px)),
        "problems": [
            {
                "severity": str(problem.severity),
                "file": speech.file(problem.file),
                "problem": str(problem.fault),
                "message": speech.text(problem.message),
            }
            for problem in report.problems
        ],
    }


def _problem_table(report: CheckReport, speech: Speech) -> Table:
    table = Table(
        title=f"{count(len(report.errors), 'error')}, {count(len(report.warnings), 'warning')}", title_justify="left"
    )
    for header in ("severity", "file", "problem", "what to do"):
        table.add_column(header, overflow="fold")
    for problem in report.problems:
        cells = (problem.severity, speech.file(problem.file), problem.fault, speech.text(problem.message))
        table.add_row(*map(Text, cells))
    return table


def _summary_table(report: CheckReport, speech: Speech) -> Table:
    """Counts of the usable samples. Cells are Text, not str: rich would read [brackets] in a name as markup."""
    table = Table(show_header=False)
    rows = {
        "data set": speech.folder(report.root),
        "images": f"{report.num_images}",
        "samples (image and text)": f"{len(report.samples)}",
        "groups": f"{report.num_groups}",
    }
    if report.samples:
        heights, widths = np.asarray(report.sizes_px).T
        rows["width, pixels"] = f"{widths.min()} to {widths.max()}"
        rows["height, pixels"] = f"{heights.min()} to {heights.max()}"
        low, median, high = np.percentile(report.foreground, [0, 50, 100])
        rows["share of vessel"] = f"{low:.1%} to {high:.1%}, median {median:.1%}"
    for label, value in rows.items():
        table.add_row(label, Text(value, overflow="fold"))
    return table


def _text_table(report: CheckReport) -> Table:
    table = Table()
    for header in ("text", "samples", "of them absent", "median share"):
        table.add_column(header, overflow="fold")
    for text, counted in _counts_of_text(report).items():
        table.add_row(
            Text(printable(text)), str(counted["samples"]), str(counted["absent"]), f"{counted['median_share']:.1%}"
        )
    return table


def _counts_of_text(report: CheckReport) -> dict[str, dict[str, Any]]:
    shares: dict[str, list[float]] = defaultdict(list)
    for sample, share in zip(report.samples, report.foreground, strict=True):
        shares[sample.text].append(share)
    return {
        text: {
            "samples": len(values),
            "absent": values.count(0.0),
            "median_share": round(float(np.median(values)), 6),
        }
        for text, values in sorted(shares.items())
    }


def _part_table(parts: Parts, speech: Speech) -> Table:
    table = Table(title=f"Parts with --seed {parts.seed}", title_justify="left")
    if not parts.samples:
        table.add_column("there is no split")
        table.add_row(Text(speech.text(parts.why_not)))
        return table
    for header in ("part", "images", "groups"):
        table.add_column(header)
    for part in get_args(Split):
        counted = _counts_of_part(parts, part)
        table.add_row(part, str(counted["images"]), str(counted["groups"]))
    return table


def _counts_of_part(parts: Parts, part: str) -> dict[str, int]:
    inside = [sample for sample in parts.samples if sample.split == part]
    return {
        "images": len({sample.name for sample in inside}),
        "samples": len(inside),
        "groups": len({sample.group for sample in inside}),
    }


def _group_table(report: CheckReport, parts: Parts, speech: Speech) -> Table:
    table = Table(title=count(report.num_groups, "group"), title_justify="left")
    for header in ("group", "images", "part", "which"):
        table.add_column(header, overflow="fold")
    part_of = {sample.group: str(sample.split) for sample in parts.samples}
    for group, names in _images_of_group(report.samples).items():
        which = listed([speech.file(name) for name in names], _NAMED)
        table.add_row(Text(speech.file(group)), str(len(names)), part_of.get(group, "-"), Text(which))
    return table


def _images_of_group(samples: Iterable[Sample]) -> dict[str, list[str]]:
    images: dict[str, Counter[str]] = defaultdict(Counter)
    for sample in samples:
        images[sample.group][sample.name] += 1
    return {group: list(names) for group, names in sorted(images.items())}


def _print_whole(console: Console, table: Table) -> None:
    """Prints a table in its full width unless a terminal shows it, so that files and pipes get whole names."""
    if not console.is_terminal:
        unbounded = console.options.update(max_width=1_000_000)
        console.width = max(console.width, Measurement.get(console, unbounded, table).maximum)
    console.print(table)
