"""A search is asked to stop: by a batch system, a closed terminal, Ctrl-C in one; and it ends well in other locales.

Whoever asks, the records are whole, the last pass of a copy is made, every process goes, one sentence says how to go
on, and the exit code is the shell's.
"""

import os
import pty
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from fcntl import ioctl
from struct import pack
from termios import TIOCSWINSZ

import optuna
import psutil
import pytest

from tests.drills.searches import (
    Ground,
    family,
    finish,
    is_gone,
    num_epochs,
    signals_as_at_a_prompt,
    wait_until,
)
from tests.listening import listening
from tune_sa2va.propose.searcher import journal_of
from tune_sa2va.results.records import FINAL_STATES, read_trials

pytestmark = [pytest.mark.timeout(3600), pytest.mark.slow]  # one or two searches each: a minute or two

DUMPS = ("Traceback", "***", "Fatal Python error", "core_worker")
"""What no search says when it is asked to stop: pages of Python's, and of Ray's C++."""


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    with Ground.prepare(tmp_path_factory.mktemp("stopping")) as ground:
        yield ground


def all_gone(processes: list[psutil.Process]) -> None:
    wait_until(lambda: all(is_gone(process) for process in processes), within_s=120, what="the search's processes gone")


def test_sigterm_stops_in_order_with_its_copy_and_another_machine_goes_on(ground: Ground) -> None:
    """Also: who listens in a running search."""
    place = f"file://{ground.folder / 'storage'}"
    search = ground.start("term", "--storage", place, "--time-budget", "60")
    results = ground.results("term")
    wait_until(lambda: num_epochs(results) >= 2, what="two epochs recorded")
    left = family(search)
    assert len(left) > 5 and listening([search, *left]) == {"127.0.0.1"}
    search.send_signal(signal.SIGTERM)
    assert finish(search, within_s=120) == 143, ground.said("term")
    all_gone(left)
    said = ground.said("term")
    assert "Interrupted by SIGTERM; everything up to here is in" in said and f"--resume {results}" in said
    assert not any(dump in said for dump in DUMPS)
    trials = read_trials(results)
    states = list(trials["state"])
    assert "RUNNING" not in states and sum(state in FINAL_STATES for state in states) < 4, "it was stopped too late"

    elsewhere = ground.folder / "elsewhere"
    again = ground.command("fetched", "--resume", f"{place}/term", "--out", str(elsewhere))
    assert finish(again) == 0, ground.said("fetched")
    ended = read_trials(elsewhere / "term")
    assert len(ended) == 4 and set(ended["state"]) <= set(FINAL_STATES)
    before = trials.set_index("trial_id")["epochs"]
    assert (ended.set_index("trial_id")["epochs"].loc[before.index] >= before).all(), "an epoch was lost on the way"
    assert (elsewhere / "term" / "report.html").is_file()


@contextmanager
def in_a_terminal(ground: Ground, name: str, columns: int) -> Iterator[tuple[psutil.Popen, int, list[bytes]]]:
    """A search whose controlling terminal is so wide; with the terminal's other end, and what comes out of it."""
    ours, theirs = pty.openpty()
    ioctl(theirs, TIOCSWINSZ, pack("HHHH", 40, columns, 0, 0))
    flags = ["--data", str(ground.folder / "data"), "--space", str(ground.folder / "space.yaml"), "--gpus", "0"]
    flags += ["--trials", "2", "--epochs", "9", "--lanes", "1", "--folds", "1", "--out", str(ground.folder / "results")]
    search = psutil.Popen(
        [sys.executable, "-m", "tune_sa2va.search", *flags, "--name", name],
        preexec_fn=lambda: (os.login_tty(theirs), signals_as_at_a_prompt()),
        env=os.environ | {"TUNE_SA2VA_CACHE": str(ground.folder / "cache"), "TERM": "xterm"},
    )
    os.close(theirs)
    said: list[bytes] = []

    def read() -> None:
        try:
            while chunk := os.read(ours, 65536):
                said.append(chunk)
        except OSError:  # nobody has the terminal open any more
            return

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    try:
        yield search, ours, said
        reader.join(10)
    finally:
        if search.is_running():
            search.kill()


@pytest.mark.parametrize("columns", [80, 120, 130])
def test_ctrl_c_in_a_terminal_leaves_its_sentence_and_a_line_for_the_prompt(ground: Ground, columns: int) -> None:
    name = f"columns-{columns}"
    with in_a_terminal(ground, name, columns) as (search, terminal, said):
        wait_until(lambda: num_epochs(ground.results(name)) >= 1, what="an epoch recorded")
        left = family(search)
        os.write(terminal, b"\x03")
        assert finish(search, within_s=120) == 130
        all_gone(left)
    shown = b"".join(said).decode()
    cursor_is_back = shown.rindex("\x1b[?25h")
    assert "━" not in shown[cursor_is_back:], "the table is drawn again after its end"
    assert f"Interrupted; everything up to here is in {ground.results(name)}" in shown[cursor_is_back:]
    assert shown.endswith("\n") or shown.endswith("\n\x1b[0m")
    assert not any(dump in shown for dump in DUMPS)


def test_a_closed_terminal_stops_in_order_and_a_renamed_folder_goes_on_with_its_study(ground: Ground) -> None:
    results = ground.results("closed")
    with in_a_terminal(ground, "closed", 80) as (search, terminal, _):
        wait_until(lambda: num_epochs(results) >= 1, what="an epoch recorded")
        left = family(search)
        os.close(terminal)
        assert finish(search, within_s=120) == 129
        all_gone(left)
    assert "RUNNING" not in set(read_trials(results)["state"])
    results.rename(ground.results("renamed"))
    assert finish(ground.resume("renamed")) == 0, ground.said("renamed")
    assert set(read_trials(ground.results("renamed"))["state"]) <= set(FINAL_STATES)
    studies = optuna.get_all_study_summaries(journal_of(ground.results("renamed")))
    assert [(study.study_name, study.n_trials) for study in studies] == [("closed", 2)]


@pytest.mark.parametrize(("language", "charset"), [("en_US", "ISO-8859-1"), ("zh_CN", "GBK")])
def test_a_search_in_another_locale_comes_to_its_end(ground: Ground, language: str, charset: str) -> None:
    if shutil.which("localedef") is None:
        pytest.skip("needs localedef and the charmaps of the package locales")
    place = ground.folder / "locales"
    place.mkdir(exist_ok=True)
    made = subprocess.run(["localedef", "-i", language, "-f", charset, str(place / f"{language}.{charset}")])
    if made.returncode > 1:  # 1: warnings
        pytest.skip(f"localedef does not make {language}.{charset}")
    extra = {"LOCPATH": str(place), "LC_ALL": f"{language}.{charset}"}
    name = f"locale-{charset}"
    search = ground.start(name, trials=1, epochs=1, extra=extra)
    assert finish(search) == 0, (ground.folder / f"{name}.log").read_bytes().decode(errors="replace")
    results = ground.results(name)
    assert (results / "best_adapter" / "adapter_model.safetensors").is_file()
    for file in (results / "summary.txt", results / "best_adapter" / "README.md", results / "report.html"):
        assert file.read_bytes().decode("utf-8")
