"""Writes a benchmark's numbers as JSON, and prints them as a table."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from tune_sa2va.durable import write_whole


def write_json(path: Path, numbers: Mapping[str, Any]) -> None:
    """Writes the numbers to `path` as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, (json.dumps(numbers, indent=1) + "\n").encode())


def show(title: str, rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> None:
    """Prints rows as a table. A cell is empty if the row lacks the column."""
    table = Table(title=title)
    for column in columns:
        table.add_column(column, justify="right")
    for row in rows:
        table.add_row(*(_cell(row.get(column, "")) for column in columns))
    Console().print(table)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)
