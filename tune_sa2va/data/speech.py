"""Decides what a command calls images and groups: by name on a terminal, by code elsewhere.

A pipe, a log or a file may be read by people who must not see names of patients.
"""

import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from tune_sa2va.data.check import CheckReport
from tune_sa2va.data.codes import SHORTEST_HIDDEN, file_code, group_codes, hide, image_code
from tune_sa2va.data.dataset import Problem
from tune_sa2va.data.endings import image_stem
from tune_sa2va.data.sample import Label, Polygons, Sample
from tune_sa2va.errors import DataError
from tune_sa2va.printable import printable

_LISTS = (".csv", ".parquet", ".json")


@dataclass(frozen=True, kw_only=True, slots=True)
class Speech:
    """codes: name, group or file -> its code; None: names are shown."""

    codes: Mapping[str, str] | None

    @classmethod
    def of(cls, report: CheckReport, *, codes: bool | None) -> "Speech":
        """For everything that a report may name. codes: whether to use codes; None: unless a terminal shows them."""
        in_codes = not sys.stdout.isatty() if codes is None else codes
        if not in_codes:
            return cls(codes=None)
        table = _codes_of_samples((*report.listed, *report.samples))
        return cls(codes=_codes_of_files(report.root, report.problems, table) | table)

    def file(self, name: str) -> str:
        """What to call a file of the data set, or a group."""
        return printable(name if self.codes is None else self.codes.get(name, name))

    def text(self, message: str) -> str:
        """A sentence, with the names in it replaced if codes are used."""
        if self.codes is None:
            return printable(message)
        return printable(hide(message, {name: code for name, code in self.codes.items() if _can_be_found(name)}))

    def folder(self, path: Path) -> str:
        """The data set's folder: its whole path, or only its last part if codes are used."""
        return printable(str(path) if self.codes is None else path.name)


def _can_be_found(name: str) -> bool:
    return len(name) >= SHORTEST_HIDDEN


def _codes_of_samples(samples: Iterable[Sample]) -> dict[str, str]:
    there = [sample for sample in samples if sample.image.is_file()]
    table = dict(group_codes(there))
    for name, sample in {sample.name: sample for sample in there}.items():
        code, path = image_code(sample), PurePosixPath(name)
        table |= {name: code, path.name: code, image_stem(path): code}
        if not isinstance(sample.mask, Polygons):
            table[(sample.mask.file if isinstance(sample.mask, Label) else sample.mask).name] = code
    return table


def _codes_of_files(root: Path, problems: Iterable[Problem], known: Mapping[str, str]) -> dict[str, str]:
    """Codes of files that only problems name: by content if they exist, else numbered. Lists keep their names."""
    table: dict[str, str] = {}
    for name in dict.fromkeys(name for problem in problems for name in (problem.file, *problem.names)):
        if name in known or PurePosixPath(name.split(",")[0]).suffix.lower() in _LISTS:
            continue
        try:
            table[name] = file_code(root / name)
        except (DataError, ValueError):  # ValueError: a NUL in the name
            table[name] = f"file {len(table) + 1}"
        table[PurePosixPath(name).name] = table[name]
    return table
