"""A command in another locale reads and writes files in UTF-8, and prints in the locale's letters."""

import json
import os
import subprocess
import sys

import pytest

COMMAND = """
import json, locale, os, sys
locale.getencoding = lambda: {encoding!r}
from tune_sa2va.utf8 import ensure_utf8_mode
ensure_utf8_mode()
print(json.dumps({{"mode": sys.flags.utf8_mode, "out": sys.stdout.encoding, "arguments": sys.argv[1:],
                  "own": os.environ.get("PYTHONIOENCODING"), "passed_on": os.environ.get("PYTHONUTF8")}}))
"""


def said(encoding: str, **extra: str) -> dict[str, object]:
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONUTF8", "PYTHONIOENCODING")}
    done = subprocess.run(
        [sys.executable, "-c", COMMAND.format(encoding=encoding), "--name", "a b"],
        env=environment | {"LC_ALL": "C.UTF-8"} | extra, capture_output=True, text=True, check=True,
    )  # fmt: skip
    found: dict[str, object] = json.loads(done.stdout)
    assert found.pop("arguments") == ["--name", "a b"]
    return found


def test_another_locale() -> None:
    assert said("gbk") == {"mode": 1, "out": "gbk", "own": None, "passed_on": "1"}


@pytest.mark.parametrize("encoding", ["UTF-8", "utf8"])
def test_utf_8_stays_as_it_is(encoding: str) -> None:
    assert said(encoding) == {"mode": 0, "out": "utf-8", "own": None, "passed_on": None}


def test_what_a_user_asks_for_stays() -> None:
    assert said("gbk", PYTHONUTF8="0")["mode"] == 0
    assert said("gbk", PYTHONIOENCODING="latin-1") == {
        "mode": 1, "out": "iso8859-1", "own": "latin-1", "passed_on": "1"
    }  # fmt: skip
