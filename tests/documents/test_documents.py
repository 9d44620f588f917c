"""The documents agree with the code, with each other, and with the files beside them."""

import ast
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from docs.command_pages import command_page, index_page
from tune_sa2va.cli import COMMANDS
from tune_sa2va.config import RECIPE
from tune_sa2va.results.records import EPOCHS_SCHEMA, TRIALS_SCHEMA
from tune_sa2va.space.search_space import Kind

from .blocks import ROOT, Block, blocks_of

PICTURES = sorted((ROOT / "docs" / "pictures").glob("*"))
TROUBLES = ROOT / "docs" / "troubleshooting.md"
WITH_LINKS = ["README.md", "README.zh.md", "CONTRIBUTING.md", "SECURITY.md"]
_LINK = re.compile(r"\]\(([^)#\s]+)[^)]*\)")
_GAP = "…"


@pytest.mark.parametrize("name", COMMANDS)
def test_a_commands_page_has_every_option(name: str) -> None:
    page = command_page(name)
    options = list(options_of(get_command(import_module(COMMANDS[name][0]).app)))
    assert options and [option for option in options if not re.search(rf"{option}\b", page)] == []
    assert f"python -m tune_sa2va.{name}`" in page and f"({name}.md)" in index_page()


def options_of(command: Any) -> Iterator[str]:
    """The flags of a command and of its subcommands."""
    for parameter in command.params:
        yield from (name for name in (*parameter.opts, *parameter.secondary_opts) if name.startswith("--"))
    for subcommand in getattr(command, "commands", {}).values():
        yield from options_of(subcommand)


@pytest.mark.parametrize("name", WITH_LINKS)
def test_links_lead_somewhere(name: str) -> None:
    for target in _LINK.findall((ROOT / name).read_text(encoding="utf-8")):
        assert "://" in target or (ROOT / target).exists(), target


def test_the_chinese_readme_has_what_the_english_one_has() -> None:
    english, chinese = ROOT / "README.md", ROOT / "README.zh.md"
    code = [[without_words(block) for block in blocks_of(file)] for file in (english, chinese)]
    assert code[0] == code[1]
    texts = [file.read_text(encoding="utf-8") for file in (english, chinese)]
    for shape in (r"^#+ ", r"^\|.*\|$", r"^- ", r"^!\["):
        counts = [len(re.findall(shape, text, re.MULTILINE)) for text in texts]
        assert counts[0] == counts[1], shape
    assert "README.zh.md" in texts[0] and "README.md" in texts[1]


def without_words(block: Block) -> list[str]:
    """Lines without what is said in words, which is translated: comments, and all but the names in a tree of files."""
    words = r"\s+#" if block.language else r"\s"
    return [re.split(words, line.strip())[0] for line in block.text.splitlines()]


@pytest.mark.parametrize("page", ["docs/how-it-works.md", "CONTRIBUTING.md"])
def test_files_and_rooms_that_are_named_exist(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    named = set(re.findall(r"`((?:[a-z_]+/)*[a-z_]+(?:/|\.py))`", text))
    assert len(named) > 10
    assert [name for name in named if not ((ROOT / "tune_sa2va" / name).exists() or (ROOT / name).exists())] == []


def test_the_page_of_search_spaces_has_every_field_and_distribution() -> None:
    page = (ROOT / "docs" / "search-spaces.md").read_text(encoding="utf-8")
    assert [name for name in (*RECIPE.flat(), *Kind) if f"`{name}" not in page] == []


def test_the_page_of_results_has_every_column() -> None:
    page = (ROOT / "docs" / "results.md").read_text(encoding="utf-8")
    columns = {*EPOCHS_SCHEMA.names, *TRIALS_SCHEMA.names} - {*RECIPE.flat()}
    assert sorted(column for column in columns if f"`{column}`" not in page) == []


def test_pictures_are_small_files_that_are_shown() -> None:
    begins = {".png": b"\x89PNG", ".jpg": b"\xff\xd8\xff"}
    assert PICTURES and all(picture.read_bytes().startswith(begins[picture.suffix]) for picture in PICTURES)
    assert sum(picture.stat().st_size for picture in PICTURES) < 1_500_000
    texts = [file.read_text(encoding="utf-8") for file in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]]
    assert [picture.name for picture in PICTURES if not any(f"pictures/{picture.name}" in text for text in texts)] == []


def test_every_sentence_of_the_troubles_is_said_by_the_code() -> None:
    said = list(sentences_of_the_code())
    quoted = re.findall(r"^### `(.+)`$", TROUBLES.read_text(encoding="utf-8"), re.MULTILINE)
    assert len(quoted) >= 20
    for sentence in quoted:
        pattern = re.compile(".*".join(re.escape(part) for part in sentence.strip(_GAP).split(_GAP)))
        assert any(pattern.search(text) for text in said), sentence


def sentences_of_the_code() -> Iterator[str]:
    """Every text in the package, with … where a value goes in."""
    for file in (ROOT / "tune_sa2va").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr):
                yield "".join(str(v.value) if isinstance(v, ast.Constant) else _GAP for v in node.values)
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield node.value


@pytest.mark.skipif(not shutil.which("mkdocs", path=str(Path(sys.executable).parent)), reason="needs the docs extra")
def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)],
        cwd=ROOT, capture_output=True, text=True, timeout=200,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "fonts.googleapis" not in (tmp_path / "index.html").read_text(encoding="utf-8")
