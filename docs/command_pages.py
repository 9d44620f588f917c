"""A page for every command, from the options and help that the code has: a hook of MkDocs, named in mkdocs.yml.

The pages are made whenever the site is built and lie in no file, so none can be older than its command.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from typer.cli import get_docs_for_click
from typer.core import TyperGroup
from typer.main import get_command
from typer.models import Context

from tune_sa2va.cli import COMMANDS

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files

INDEX = """# Commands

Every command is `python -m tune_sa2va.NAME` or, after the install, `tune-sa2va NAME`. All of them take `--help`, and
`--debug`, which shows the traceback of an error in place of its sentence.

Exit codes: 0 done; 1 a check failed, the data are faulty, or the model differs; 2 wrong use or wrong input, said in one
sentence; 3 (`status` only) the search was killed or interrupted; 75 the search paused because the disk is full, or its
copy at `--storage` is not complete; 130 interrupted by Ctrl-C, 143 by SIGTERM, 129 by SIGHUP.

| command | what it does |
|---|---|
"""


def on_config(config: "MkDocsConfig") -> "MkDocsConfig":
    """Adds the pages to the navigation."""
    assert config.nav is not None, "mkdocs.yml has one"
    config.nav.append({"Commands": ["commands/index.md", *(f"commands/{name}.md" for name in COMMANDS)]})
    return config


def on_files(files: "Files", config: "MkDocsConfig") -> "Files":
    """Adds the pages to the site."""
    from mkdocs.structure.files import File  # the tests make pages where MkDocs is not installed

    pages = {"index": index_page()} | {name: command_page(name) for name in COMMANDS}
    for name, text in pages.items():
        files.append(File.generated(config, f"commands/{name}.md", content=text))
    return files


def index_page() -> str:
    """The list of all commands."""
    return INDEX + "\n".join(f"| [{name}]({name}.md) | {about} |" for name, (_, about) in COMMANDS.items()) + "\n"


def command_page(name: str) -> str:
    """What a command does, its arguments and its options, as Markdown."""
    command = get_command(import_module(COMMANDS[name][0]).app)
    if isinstance(command, TyperGroup) and not command.commands:
        command.subcommand_metavar = ""  # a callback alone: nothing can follow its options
    title = f"tune-sa2va {name}"
    text = get_docs_for_click(obj=command, ctx=Context(command, info_name=title), name=title, title=name)
    return text.replace("\n**Usage**:", f"\n**Usage** (the same as `python -m tune_sa2va.{name}`):", 1)
