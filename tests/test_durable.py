"""Files are whole or not there, on a full disk, too."""

import errno
import os
from pathlib import Path

import pytest

from tune_sa2va.durable import is_full, write_whole


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
