"""`--group-by`: assigns images to patients by a regular expression over file names, or by a table.

The rule overrides the groups that the data set itself gives.
"""

import csv
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from tune_sa2va.data.dataset import Dataset, Fault, Problem
from tune_sa2va.data.endings import image_stem
from tune_sa2va.data.readers.limits import MAX_CELL_LETTERS, MAX_ROWS, check_size, too_many
from tune_sa2va.data.readers.naming import plain
from tune_sa2va.data.sample import Sample
from tune_sa2va.errors import DataError, UserError
from tune_sa2va.words import count

_COLUMNS = ["name", "patient"]


@dataclass(frozen=True, slots=True)
class GroupRule:
    """said: the rule as the user gave it. of: sample name -> group; None where the rule finds none."""

    said: str
    of: Callable[[str], str | None]


def group_rule(said: str) -> GroupRule:
    """The rule that `--group-by` gives.

    A text that ends in .csv is a table with the columns name and patient. A name is a sample's path, its file name, or
    its file name without the ending. Any other text is a regular expression with one group, which captures the patient.
    It is searched in the file name, or in the path if the expression contains a slash.

    Raises:
        UserError: not a regular expression, or one that does not have exactly one group.
        DataError: the table cannot be read, or gives one name to two patients.
    """
    if said.lower().endswith(".csv"):
        return GroupRule(said, _from_table(Path(os.path.expanduser(said))))  # noqa: PTH111
    try:
        pattern = re.compile(said)
    except (re.error, OverflowError, RecursionError) as error:
        raise UserError(f"--group-by {said!r}: is not a regular expression ({error}). Correct it.") from error
    if pattern.groups != 1:
        raise UserError(
            f"--group-by {said!r}: must have one group in brackets, which is the patient, got {pattern.groups}. Write "
            "one pair of ( ), others as (?: )."
        )

    def of(name: str) -> str | None:
        found = pattern.search(plain(name if "/" in said else PurePosixPath(name).name))
        return (found[1] or "").strip() or None if found else None

    return GroupRule(said, of)


def grouped(dataset: Dataset, rule: GroupRule) -> Dataset:
    """The data set with the groups of the rule. Images without a group are left out, and are an error."""
    samples, left_out = list[Sample](), list[str]()
    for sample in dataset.samples:
        group = rule.of(sample.name)
        if group is None:
            left_out.append(sample.name)
        else:
            samples.append(replace(sample, group=group))
    return replace(dataset, samples=tuple(samples), problems=(*dataset.problems, *_left_out(rule, left_out)))


def _left_out(rule: GroupRule, names: Sequence[str]) -> list[Problem]:
    if not names:
        return []
    number = len(set(names))
    message = f"--group-by {rule.said!r} finds no patient for {count(number, 'image')}; this is the first. Widen it."
    return [Problem(fault=Fault.NO_GROUP, file=names[0], message=message)]


def _from_table(path: Path) -> Callable[[str], str | None]:
    patients: dict[str, str] = {}
    for where, name, patient in _rows(path):
        if not name or not patient:
            raise DataError(f"{where}: needs a name and a patient. Fill both in, or remove the line.")
        if patients.setdefault(plain(name), patient) != patient:
            raise DataError(f"{where}: gives a name to a second patient. Keep one line for each name.")

    def of(name: str) -> str | None:
        file = PurePosixPath(plain(name))
        return next((patients[key] for key in (str(file), file.name, image_stem(file)) if key in patients), None)

    return of


def _rows(path: Path) -> list[tuple[str, str, str]]:
    """(where, name, patient) of each line."""
    if not os.path.isfile(path):  # noqa: PTH113 (Path.is_file raises on a name of 300 characters)
        raise DataError(f"--group-by {path}: there is no such file. Check the path.")
    check_size(path)
    rows = list[tuple[str, str, str]]()
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            header = [cell.strip().casefold() for cell in next(reader, [])]
            if absent := [column for column in _COLUMNS if header.count(column) != 1]:
                raise DataError(f"{path}: needs the columns name and patient, once each; look at {', '.join(absent)}.")
            for cells in reader:
                if len(rows) >= MAX_ROWS:
                    raise too_many(path, "rows", MAX_ROWS)
                if not any(map(str.strip, cells)):
                    continue
                row = dict(zip(header, (cell.strip() for cell in cells), strict=False))
                where = f"{path}, line {reader.line_num}"
                if max(map(len, row.values())) > MAX_CELL_LETTERS:
                    raise DataError(f"{where}: has a cell of more than {MAX_CELL_LETTERS} letters. Shorten it.")
                rows.append((where, row.get("name", ""), row.get("patient", "")))
    except (csv.Error, UnicodeDecodeError, OSError) as error:
        raise DataError(f"{path}: cannot be read as CSV ({error}). Save it as UTF-8 with commas.") from error
    return rows
