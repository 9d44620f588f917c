"""A results folder that others could have written is not resumed without `--trust`."""

import os
import pwd
import stat
from pathlib import Path

import pytest

from tune_sa2va.errors import ResultsError
from tune_sa2va.preflight.trust import check_trust, distrust

SEARCHER = "ray/snapshots/000001/searcher-state-1.pkl"


@pytest.fixture
def run(tmp_path: Path) -> Path:
    run = tmp_path / "run"
    for name in (SEARCHER, "ray/tune/0000/checkpoint_000000/epoch.json", "logs/0000.log"):
        (run / name).parent.mkdir(parents=True, exist_ok=True)
        (run / name).write_text("x")
        (run / name).chmod(0o644)
    for folder in (run, *run.rglob("*/")):
        folder.chmod(0o755)
    return run


def test_ones_own_folder_is_trusted(run: Path) -> None:
    (run / "logs" / "0000.log").chmod(0o666)  # never unpickled
    check_trust(run)


@pytest.mark.parametrize("name", [".", "ray", "ray/snapshots", "ray/snapshots/000001", SEARCHER, "ray/tune/0000"])
def test_what_everybody_may_write_is_not(run: Path, name: str) -> None:
    (run / name).chmod((run / name).stat().st_mode | stat.S_IWOTH)
    with pytest.raises(ResultsError, match=r"can be written by everybody, and --resume can run code .+ --trust"):
        check_trust(run)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
@pytest.mark.parametrize("name", [".", "ray", SEARCHER])
def test_what_belongs_to_another_user_is_not(run: Path, name: str) -> None:
    os.chown(run / name, 54321, -1)
    with pytest.raises(ResultsError, match=r"belongs to the user 54321, and --resume"):
        check_trust(run)


def test_a_link_to_what_everybody_may_write_is_not(run: Path, tmp_path: Path) -> None:
    (tmp_path / "theirs").write_text("x")
    (tmp_path / "theirs").chmod(0o666)
    (run / SEARCHER).unlink()
    (run / SEARCHER).symlink_to(tmp_path / "theirs")
    with pytest.raises(ResultsError, match="everybody"):
        check_trust(run)


def a_stat(mode: int, user: int, group: int) -> os.stat_result:
    return os.stat_result((mode, 1, 1, 1, user, group, 0, 0, 0, 0))


def test_a_group_of_ones_own_may_write_and_another_may_not() -> None:
    me = pwd.getpwuid(os.geteuid())
    assert distrust(a_stat(0o100664, me.pw_uid, 54321), me.pw_uid) == "can be written by the group 54321"
    assert distrust(a_stat(0o100644, me.pw_uid, 54321), me.pw_uid) == ""
    if me.pw_gid == me.pw_uid == 0:  # the group root has nobody else in it here
        assert distrust(a_stat(0o100664, 0, 0), 0) == ""
