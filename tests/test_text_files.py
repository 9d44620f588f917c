"""Text files are UTF-8 in every locale: every call that opens one says so, and no command fails at a letter."""

import ast
import io
import sys
from collections.abc import Iterator

import pytest

from tests.package_sources import found_in_modules
from tune_sa2va import cli

_TEXT_METHODS = {"read_text": 0, "write_text": 1}


def without_encoding(source: str) -> Iterator[str]:
    """Calls that open a file, or the output of another process, as text in the locale's encoding."""
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call):
            continue
        named = {keyword.arg: keyword.value for keyword in node.keywords}
        where = f"line {node.lineno}: {ast.unparse(node.func)}"
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        if name in _TEXT_METHODS and "encoding" not in named and len(node.args) <= _TEXT_METHODS[name]:
            yield where
        if name == "open" and "encoding" not in named:
            modes = [arg.value for arg in (*node.args, named.get("mode")) if isinstance(arg, ast.Constant)]
            if any(isinstance(mode, str) and set(mode) <= set("rwxa+t") for mode in modes) or not node.args:
                yield where
        if ast.unparse(named.get("text", ast.Constant(None))) == "True":
            yield where


def test_every_file_is_opened_in_utf_8() -> None:
    assert found_in_modules(without_encoding) == []


@pytest.mark.parametrize(
    "source",
    ["path.read_text()", "path.write_text(x)", "path.open()", "path.open('w')", "subprocess.run(x, text=True)"],
)
def test_the_search_for_them_finds_each(source: str) -> None:
    assert list(without_encoding(source))


@pytest.mark.parametrize("source", ["path.open('rb')", "Place.open(flag, uri)", "path.read_text(encoding='utf-8')"])
def test_and_nothing_else(source: str) -> None:
    assert not list(without_encoding(source))


def test_a_terminal_shows_a_question_mark_for_what_it_has_not(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stderr", io.TextIOWrapper(raw, encoding="latin-1", write_through=True))
    cli._replace_unencodable_letters()
    cli.say_error("血管.png: cannot be read")
    assert raw.getvalue() == b"error[flags]: ??.png: cannot be read\n"
