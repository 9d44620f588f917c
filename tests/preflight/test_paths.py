"""A folder whose name is not UTF-8 is refused before anything is written."""

import os
from pathlib import Path

import pytest

from tune_sa2va.errors import UserError
from tune_sa2va.preflight.paths import check_spelling


def test_names_in_utf_8_are_right() -> None:
    check_spelling("--out", Path("/data/Gefäße/血管"))


def test_a_latin_1_locale_spells_them_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsencode", lambda path: str(path).encode("latin-1"))
    check_spelling("--out", Path("/data/vessels"))
    with pytest.raises(UserError, match=r"--out /data/Gefäße: .* not UTF-8"):
        check_spelling("--out", Path("/data/Gefäße"))


def test_bytes_that_are_no_utf_8() -> None:
    with pytest.raises(UserError, match="--data"):
        check_spelling("--data", Path(os.fsdecode(b"/data/\xff")))
