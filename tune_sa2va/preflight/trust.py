"""Whether a results folder is this user's own. `--resume` opens Ray's state in it, pickles, which can run any code."""

import grp
import os
import pwd
import stat
from collections.abc import Iterator
from pathlib import Path

from tune_sa2va.errors import ResultsError
from tune_sa2va.results.snapshots import FOLDER as SNAPSHOTS

_TUNE = "ray/tune"


def check_trust(folder: Path) -> None:
    """Whether what `--resume` opens in a results folder is this user's, and nobody else may write it.

    Raises:
        ResultsError: somebody else could have put a program there.
    """
    for path in _opened(folder):
        # Of a link its own owner, and whatever it leads to.
        found = [path.lstat(), *([path.stat()] if path.is_symlink() and path.exists() else [])]
        if reason := next(filter(None, (distrust(each, os.geteuid()) for each in found)), ""):
            raise ResultsError(
                f"{path}: {reason}, and --resume runs what it finds there (SECURITY.md). If you know who wrote it, "
                f"give --trust; else take the rights away: chmod -R go-w {folder}."
            )


def distrust(found: os.stat_result, user: int) -> str:
    """Why a file or folder may hold what `user` did not write; empty where it may not."""
    if found.st_uid != user:
        return f"belongs to {_name(found.st_uid)}"
    if stat.S_ISLNK(found.st_mode):
        return ""  # its own rights are nothing
    if found.st_mode & stat.S_IWOTH:
        return "can be written by everybody"
    if found.st_mode & stat.S_IWGRP and not _is_private(found.st_gid, user):
        return f"can be written by the group {_group(found.st_gid)}"
    return ""


def _opened(folder: Path) -> Iterator[Path]:
    """The folder and those below it whose files Ray reads, with these: whoever can write one can change the others."""
    yield folder
    for top in (folder / "ray", *(folder / place for place in (SNAPSHOTS, _TUNE))):
        if top.is_dir():
            yield top
    for place in (SNAPSHOTS, _TUNE):
        yield from sorted((folder / place).rglob("*"))


def _is_private(group: int, user: int) -> bool:
    """Whether a group is the user's own, which many systems make with him: of his name, with nobody else in it."""
    try:
        own, found = pwd.getpwuid(user), grp.getgrgid(group)
    except KeyError:
        return False
    return own.pw_gid == group and found.gr_name == own.pw_name and set(found.gr_mem) <= {own.pw_name}


def _name(user: int) -> str:
    try:
        return f"the user {pwd.getpwuid(user).pw_name}"
    except KeyError:
        return f"the user {user}"


def _group(group: int) -> str:
    try:
        return grp.getgrgid(group).gr_name
    except KeyError:
        return str(group)
