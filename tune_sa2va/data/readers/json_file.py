"""Reads JSON from strangers: of limited size, and without NaN and Infinity, which are not JSON."""

import json
from pathlib import Path
from typing import Any, NoReturn

from tune_sa2va.data.readers.limits import check_size
from tune_sa2va.errors import DataError


def load_json(path: Path) -> Any:
    """The parsed content. Raises DataError if the file is too large or not JSON."""

    def refuse(constant: str) -> NoReturn:
        raise ValueError(f"{constant} is no JSON number")

    check_size(path)
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"), parse_constant=refuse)
    except (ValueError, RecursionError) as error:  # covers JSONDecodeError and UnicodeDecodeError
        raise DataError(f"{path}: cannot be read as JSON ({error}). Write it again as UTF-8.") from error


def kind_of(value: Any) -> str:
    """The kind of a JSON value in words, for a message: "a list"."""
    names = {dict: "an object", list: "a list", str: "a text", bool: "true or false", type(None): "nothing"}
    return names.get(type(value), "a number")
