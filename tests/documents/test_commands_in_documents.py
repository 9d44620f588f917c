"""Every command line in the documents is one that the command takes; those that a CPU can run are run."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from .blocks import DOCUMENTS, ROOT, Block, blocks_of, calls_in, calls_in_document, parse

DOCS = sorted((ROOT / "docs").glob("*.md"))
TUTORIAL = ROOT / "docs" / "tutorial.md"
RUNNABLE = ("bash", "python")
NUM_CHEAP = 3
"""The tutorial's first blocks: they make frames, check them, and plan a search, in seconds."""


def run_block(block: Block, folder: Path) -> None:
    """Runs a block in `folder` as a reader would, who has our virtual environment active."""
    environment = os.environ | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "TUNE_SA2VA_CACHE": str(folder / "cache"),
    }
    call = {"bash": ["bash", "-euo", "pipefail", "-c"], "python": [sys.executable, "-c"]}[block.language]
    done = subprocess.run(
        [*call, block.text], cwd=folder, env=environment, capture_output=True, text=True, timeout=1500
    )
    where = f"{block.document.name}, line {block.line}"
    assert done.returncode == 0, f"{where}:\n{block.text}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"


def runnable(document: Path) -> list[Block]:
    return [block for block in blocks_of(document) if block.language in RUNNABLE and not block.needs]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_call_is_one_that_the_command_takes(document: Path) -> None:
    for call in calls_in_document(document):
        parse(call)


def test_calls_are_found_and_wrong_ones_refused() -> None:
    shell = 'cd x && PYTHONPATH=. python -m tune_sa2va.search --gpus "$N" \\\n  --trials 3 | tee log  # a comment\n'
    assert list(calls_in(shell)) == [["search", "--gpus", "1", "--trials", "3"]]
    assert list(calls_in(".venv/bin/tune-sa2va data check DIR; ls")) == [["data", "check", "DIR"]]
    for call in (["search", "--trails", "3"], ["search", "extra"], ["data", "chek", "x"], ["status"], ["export"]):
        with pytest.raises(Exception, match=r"--trails|extra|chek|run|--run"):
            parse(call)


def test_the_documents_hold_calls_of_nearly_every_command() -> None:
    named = {call[0] for document in DOCUMENTS for call in calls_in_document(document)}
    assert {"search", "plan", "doctor", "data", "status", "report", "export", "predict", "evaluate", "cache"} <= named


@pytest.mark.slow  # half a minute
def test_the_tutorials_first_blocks_run(tmp_path: Path) -> None:
    first = runnable(TUTORIAL)[:NUM_CHEAP]
    assert "data check" in first[1].text and "plan" in first[2].text
    for block in first:
        run_block(block, tmp_path)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_every_block_that_a_cpu_can_run_runs(tmp_path: Path) -> None:
    """The tutorial from its first block to its last, then the blocks of the other pages, which use what it made."""
    for document in [TUTORIAL, *(page for page in DOCS if page != TUTORIAL)]:
        for block in runnable(document):
            run_block(block, tmp_path)
