"""Files are complete or absent, also on a full disk."""

import errno
import os
from pathlib import Path

import pytest

from tune_sa2va.durable import folder_bytes, is_full, publish_folder, write_whole


def test_what_a_full_disk_did_not_take_leaves_the_old_file_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a"
    write_whole(path, b"old")

    def no_space(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", no_space)
    with pytest.raises(OSError) as raised:
        write_whole(path, b"new")
    assert is_full(raised.value) and is_full(f"Task failed: {raised.value!r}")
    assert path.read_bytes() == b"old" and list(tmp_path.iterdir()) == [path]


def test_other_faults_are_not_a_full_disk() -> None:
    assert not is_full(PermissionError(errno.EACCES, os.strerror(errno.EACCES)))


def test_a_folder_is_on_the_disk_before_it_has_its_name_and_the_name_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unfinished, final = tmp_path / "unfinished", tmp_path / "final"
    (unfinished / "deep").mkdir(parents=True)
    final.mkdir()
    (final / "old").write_bytes(b"old")
    for name in ("a", "deep/b"):
        (unfinished / name).write_bytes(b"new")
    inodes = {path.stat().st_ino: path for path in (*unfinished.rglob("*"), tmp_path)}
    flushed: list[tuple[str, bool]] = []

    def noted(descriptor: int) -> None:
        flushed.append((inodes[os.fstat(descriptor).st_ino].name, (final / "a").exists()))

    monkeypatch.setattr(os, "fsync", noted)
    publish_folder(unfinished, final)
    assert sorted(flushed[:-1]) == [("a", False), ("b", False)] and flushed[-1] == (tmp_path.name, True)
    assert not unfinished.exists() and sorted(path.name for path in final.iterdir()) == ["a", "deep"]


def test_a_file_is_on_the_disk_before_it_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[bool] = []
    monkeypatch.setattr(os, "fsync", lambda _: seen.append((tmp_path / "a").exists()))
    write_whole(tmp_path / "a", b"new")
    assert seen == [False] and (tmp_path / "a").read_bytes() == b"new"


def test_a_file_of_two_names_counts_once(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "a").write_bytes(b"12345")
    os.link(tmp_path / "deep" / "a", tmp_path / "b")
    (tmp_path / "c").write_bytes(b"678")
    assert folder_bytes(tmp_path) == 8
