"""Lists and removes what is in the cache. Does not import torch, so that `cache ls` is fast.

Only files with the cache's own names are counted or removed; any others in the folder stay.
"""

import contextlib
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tune_sa2va.cache.about import ABOUT_NAME, WANTED_PATTERN, read_about, wanted_names
from tune_sa2va.cache.claim import PART_SUFFIX
from tune_sa2va.cache.key import SUFFIX
from tune_sa2va.cache.usage import LOCK_NAME, is_used, last_used_s, take_alone

_FEATURES = re.compile(rf"[0-9a-f]{{32}}-[0-7]{re.escape(SUFFIX)}")
_DAY_S = 86_400.0


@dataclass(frozen=True, kw_only=True, slots=True)
class CachedBase:
    """One folder of the cache.

    model: name of the preset or checkpoint folder. base: 16 hex digits of the hash of its content.
    pictures: number of feature files. wanted: number of pictures ever requested. missing: wanted ones without a file.
    num_bytes: of all feature files. last_used_s: seconds since 1970. in_use: a running process uses it.
    """

    folder: Path
    model: str
    base: str
    dtype: str
    raw_high_res: bool
    pictures: int
    wanted: int
    missing: int
    num_bytes: int
    last_used_s: float
    in_use: bool

    @property
    def is_complete(self) -> bool:
        return self.missing == 0


def cached_bases(root: Path) -> list[CachedBase]:
    """Every folder of the cache in `root`, most recently used first."""
    found = [_examine(folder) for folder in _folders(root)]
    return sorted(found, key=lambda each: -each.last_used_s)


def cache_bytes(root: Path) -> int:
    """Bytes of all feature files in `root`."""
    return sum(path.stat().st_size for folder in _folders(root) for path in _feature_files(folder))


def remove(base: CachedBase) -> int | None:
    """Deletes one folder of the cache. Returns the bytes freed, or None if a running process uses it."""
    alone = take_alone(base.folder)
    if alone is None:
        return None
    with alone:
        freed = 0
        ours = [*_feature_files(base.folder), *base.folder.glob(f"*{SUFFIX}{PART_SUFFIX}")]
        ours += [*base.folder.glob(WANTED_PATTERN), base.folder / ABOUT_NAME, base.folder / LOCK_NAME]
        for path in ours:
            with contextlib.suppress(FileNotFoundError):
                freed += path.stat().st_size
                path.unlink()
        with contextlib.suppress(OSError):  # not empty: it has other files
            base.folder.rmdir()
    return freed


def older_than(bases: Sequence[CachedBase], days: float) -> list[CachedBase]:
    """The folders that were not used for more than `days`."""
    return [each for each in bases if time.time() - each.last_used_s > days * _DAY_S]


def beyond(bases: Sequence[CachedBase], gib: float) -> list[CachedBase]:
    """The folders to remove so that the rest takes at most `gib`: least recently used first, none that is in use."""
    held = sum(each.num_bytes for each in bases)
    chosen = []
    for each in sorted(bases, key=lambda each: each.last_used_s):
        if held <= gib * 2**30:
            break
        if not each.in_use:
            chosen.append(each)
            held -= each.num_bytes
    return chosen


def _folders(root: Path) -> Iterator[Path]:
    if root.is_dir():
        for folder in sorted(root.iterdir()):
            if folder.is_dir() and read_about(folder) is not None and (folder / LOCK_NAME).is_file():
                yield folder


def _feature_files(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if _FEATURES.fullmatch(path.name)]


def _examine(folder: Path) -> CachedBase:
    about = read_about(folder) or {}
    files = _feature_files(folder)
    wanted = wanted_names(folder)
    return CachedBase(
        folder=folder,
        model=about["model"],
        base=about["base"][:16],
        dtype=about["dtype"],
        raw_high_res=about["raw_high_res"],
        pictures=len(files),
        wanted=len(wanted),
        missing=len(wanted - {path.name for path in files}),
        num_bytes=sum(path.stat().st_size for path in files),
        last_used_s=last_used_s(folder),
        in_use=is_used(folder),
    )
