"""Whether a results folder is the user's own: `--resume` unpickles Ray's state in it, and a pickle can run any code."""

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
    """Checks that everything `--resume` unpickles in a results folder belongs to this user and that nobody else can
    write it.

    Raises:
        ResultsError: somebody else could have put code there.
    """
    for path in _opened(folder):
        # Of a link both count: its own owner, and the file it points to.
        found = [path.lstat(), *([path.stat()] if path.is_symlink() and path.exists() else [])]
        if reason := next(filter(None, (distrust(each, os.geteuid()) for each in found)), ""):
            raise ResultsError(
                f"{path}: {reason}, and --resume can run code stored there (SECURITY.md). If you trust everyone who "
                f"could write it, give --trust; else remove their access: chmod -R go-w {folder}."
            )


def distrust(found: os.stat_result, user: int) -> str:
    """Why others than `user` could have written a file or folder, as the end of a sentence; empty if they could not."""
    if found.st_uid != user:
        return f"belongs to {_name(found.st_uid)}"
    if stat.S_ISLNK(found.st_mode):
        return ""  # the mode of a link has no meaning
    if found.st_mode & stat.S_IWOTH:
        return "can be written by everybody"
    if found.st_mode & stat.S_IWGRP and not _is_private(found.st_gid, user):
        return f"can be written by the group {_group(found.st_gid)}"
    return ""


def _opened(folder: Path) -> Iterator[Path]:
    """The files that Ray reads and every folder above them up to `folder`; whoever can write a folder can replace what
    is in it."""
    yield folder
    for top in (folder / "ray", *(folder / place for place in (SNAPSHOTS, _TUNE))):
        if top.is_dir():
            yield top
    for place in (SNAPSHOTS, _TUNE):
        yield from sorted((folder / place).rglob("*"))


def _is_private(group: int, user: int) -> bool:
    """Whether a group is the user's private group, which many systems create with the user: same name, no other
    member."""
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
