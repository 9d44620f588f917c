"""The code blocks of the documents, and the calls of our commands in them."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from typer.main import get_command

from tune_sa2va.cli import COMMANDS

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("results/**/*.md")])

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_SPAN = re.compile(r"`((?:python -m tune_sa2va\.|tune-sa2va )[^`]*)`")
_NEEDS = re.compile(r"\s*# needs (.+)")
_VARIABLE = re.compile(r"\$\{?\w+\}?|\$\(\w+\)")
_OPERATORS = ";&|<>()"


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block. needs: what its first line says it needs that a machine with only a CPU lacks; empty for none."""

    document: Path
    line: int
    language: str
    text: str

    @property
    def needs(self) -> str:
        found = _NEEDS.match(self.text)
        return found[1] if found else ""


def blocks_of(document: Path) -> list[Block]:
    """Every fenced block, in order."""
    text = document.read_text(encoding="utf-8")
    return [Block(document, text[: m.start()].count("\n") + 1, m[1], m[2]) for m in _FENCE.finditer(text)]


def calls_in_document(document: Path) -> Iterator[list[str]]:
    """Calls of our commands in the bash blocks of a Markdown text, and in its sentences."""
    for block in blocks_of(document):
        if block.language == "bash":
            yield from calls_in(block.text)
    for span in _SPAN.findall(_FENCE.sub("", document.read_text(encoding="utf-8"))):
        yield from calls_in(span)


def calls_in(shell: str) -> Iterator[list[str]]:
    """Calls of our commands in a shell script: the command's name and its arguments; variables stand as 1."""
    for line in shell.replace("\\\n", " ").splitlines():
        lexer = shlex.shlex(_VARIABLE.sub("1", line), posix=True, punctuation_chars=_OPERATORS)
        lexer.whitespace_split = True
        words: list[str] = []
        for word in [*lexer, ";"]:
            if word.strip(_OPERATORS):
                words.append(word)
                continue
            if call := _call(words):
                yield call
            words = []


def _call(words: list[str]) -> list[str] | None:
    for at, word in enumerate(words):
        if word == "-m" and len(words) > at + 1 and words[at + 1].startswith("tune_sa2va."):
            return [words[at + 1].removeprefix("tune_sa2va."), *words[at + 2 :]]
        if word.rpartition("/")[2] == "tune-sa2va" and len(words) > at + 1:
            return words[at + 1 :]
    return None


def parse(call: list[str]) -> None:
    """Reads a call with the command's own parser, without running it; raises what a user would get for a wrong one."""
    name, *arguments = call
    if name in ("--help", "--version"):
        return
    arguments = [argument for argument in arguments if argument != "--debug"]  # `cli.run` adds it to every command
    _parse(get_command(import_module(COMMANDS[name][0]).app), name, arguments, parent=None)


def _parse(command: Any, name: str, arguments: list[str], parent: Any) -> None:
    if "--help" in arguments:
        return
    context = command.make_context(name, arguments, parent=parent)
    rest = [*getattr(context, "_protected_args", ()), *context.args]
    if rest:
        subname, subcommand, left = command.resolve_command(context, rest)
        _parse(subcommand, subname, left, parent=context)
