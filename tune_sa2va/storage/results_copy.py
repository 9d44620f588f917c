"""Brings the copy of a results folder up to date in passes. An interruption at any moment leaves a complete state.

A pass writes changed content without touching files that the last manifest lists, then the next manifest, and only then
deletes files that no manifest needs. Content goes to the file's own path, unless the last manifest lists that path;
then it goes to `ray/copy/NUMBER/`, and at the end a second copy goes to the file's own path, for people who browse the
storage. Checkpoints never change, so they are written once, to their own paths.

`ray/copy.json` in the results folder lists the manifests that this folder has written. If the newest manifest in the
storage is not among them, another process has continued the search, and the pass changes nothing.
"""

import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath

from tune_sa2va.durable import write_whole
from tune_sa2va.errors import ResultsError
from tune_sa2va.storage.frozen_files import FROZEN, KNOWN_FILE, SNAPSHOTS, FrozenFile, Signature, freeze_files
from tune_sa2va.storage.manifest import (
    FOLDER,
    CopiedFile,
    Manifest,
    manifest_name,
    manifest_names,
    newest_manifest,
    number_of,
)
from tune_sa2va.storage.place import Place

_CHUNK_BYTES = 8 * 2**20


class ResultsCopy:
    """The copy of the results folder `results` at `place`. Only one pass may run at a time."""

    def __init__(self, results: Path, place: Place) -> None:
        self.uri = place.uri
        self._results, self._place = results, place
        self._copied: dict[str, tuple[Signature, CopiedFile]] = {}
        self._shown: dict[str, str] = {}

    def check_ours(self) -> None:
        """Checks that the storage is empty or was last written by this results folder.

        Raises:
            UserError: another process wrote it last.
            OSError: the storage cannot be read.
        """
        self._check_ours(self._place.sizes())

    def freeze(self) -> list[FrozenFile]:
        """Freezes the files as they are now. Call it in the thread that drives the search; `sync` may run in another.

        Raises:
            OSError: see `freeze_files`.
        """
        return freeze_files(self._results, {path: signature for path, (signature, _) in self._copied.items()})

    def has_news(self, frozen: list[FrozenFile]) -> bool:
        """Whether anything but snapshots has changed. A new snapshot appears twice a second even if nothing happens.

        A search can be resumed from a copy whose snapshot is older than its records.
        """
        lasting = [item for item in frozen if not item.path.startswith(SNAPSHOTS)]
        copied = {path for path in self._copied if not path.startswith(SNAPSHOTS)}
        return copied != {item.path for item in lasting} or any(item.content is not None for item in lasting)

    def sync(self, frozen: list[FrozenFile]) -> None:
        """Brings the copy to the state of the frozen files, then deletes their links.

        Raises:
            UserError: another process has continued this search.
            OSError: the storage or the results cannot be read or written. The copy is in its old or its new state.
        """
        try:
            self._upload(frozen)
        finally:
            shutil.rmtree(self._results / FROZEN, ignore_errors=True)

    def _upload(self, frozen: list[FrozenFile]) -> None:
        there = self._place.sizes()
        self._check_ours(there)
        number = 1 + max(map(number_of, manifest_names(there)), default=0)
        name, last = newest_manifest(self._place, there) or ("", Manifest(files={}))
        sound = {path: file for path, file in last.files.items() if there.get(file.stored) == file.size}
        taken = {file.stored for file in last.files.values()}
        files = {item.path: self._stored(item, sound, taken, number) for item in frozen}
        if files != last.files or not name:
            content = Manifest(files=files).to_bytes()
            name = manifest_name(number, content)
            write_known(self._results, {name, *manifest_names(there)})  # first, since the write may be interrupted
            self._place.write(name, [content])
        self._copied = {item.path: (item.signature, files[item.path]) for item in frozen}
        needed = {name, *files, *(file.stored for file in files.values())}
        for path in _whole_folders(there.keys() - needed, needed):
            self._place.remove(path)
        self._show(files)

    def _check_ours(self, there: Mapping[str, int]) -> None:
        newest = next(iter(manifest_names(there)), None)
        if newest is not None and newest not in _read_known(self._results):
            raise ResultsError(
                f"{self.uri}: holds a later state of this search, which went on elsewhere. Fetch that one by --resume "
                f"{self.uri} with another --out, or delete it there."
            )

    def _stored(self, item: FrozenFile, sound: Mapping[str, CopiedFile], taken: set[str], number: int) -> CopiedFile:
        """Stores the file's content unless the copy has it, and returns where it is."""
        known = sound.get(item.path)
        if item.content is None:
            if known is None or known != self._copied[item.path][1]:
                self._copied.clear()
                raise OSError("files of the copy were changed or deleted; the next pass looks at all of them")
            return known
        digest = hashlib.sha256()
        for chunk in _chunks(item.content, item.size):
            digest.update(chunk)
        sha256 = digest.hexdigest()
        if known is not None and known.sha256 == sha256 and known.size == item.size:
            return known
        path = item.path if item.path not in taken else f"{FOLDER}/{number:06d}/{item.path}"
        self._shown.pop(path, None)
        self._place.write(path, _verified(item.content, item.size, sha256))
        return CopiedFile(stored=path, size=item.size, sha256=sha256)

    def _show(self, files: Mapping[str, CopiedFile]) -> None:
        """Writes the second copies, for people who browse the storage."""
        for path, file in files.items():
            if file.stored != path and self._shown.get(path) != file.sha256:
                self._place.copy(file.stored, path)
                self._shown[path] = file.sha256


def write_known(results: Path, names: set[str]) -> None:
    """Records in a results folder which manifests this folder knows, one of which must be the newest of its copy."""
    (results / KNOWN_FILE).parent.mkdir(parents=True, exist_ok=True)
    write_whole(results / KNOWN_FILE, json.dumps(sorted(names)).encode())


def _read_known(results: Path) -> set[str]:
    try:
        return set(json.loads((results / KNOWN_FILE).read_text(encoding="utf-8")))
    except (FileNotFoundError, ValueError, TypeError):
        return set()


def _whole_folders(gone: set[str], kept: set[str]) -> Iterator[str]:
    """What to delete for `gone`: whole folders that hold none of `kept`, as few requests as possible, else files."""
    kept_folders = {str(folder) for path in kept for folder in PurePosixPath(path).parents}
    tops = set()
    for path in gone:
        above = [str(folder) for folder in reversed(PurePosixPath(path).parents)]
        tops.add(next((folder for folder in above if folder not in kept_folders), path))
    yield from sorted(tops)


def _verified(file: Path, size: int, sha256: str) -> Iterator[bytes]:
    digest = hashlib.sha256()
    for chunk in _chunks(file, size):
        digest.update(chunk)
        yield chunk
    if digest.hexdigest() != sha256:
        raise OSError(f"{file} changed while it was copied")


def _chunks(file: Path, size: int) -> Iterator[bytes]:
    """The first `size` bytes of a file, in chunks."""
    left = size
    with file.open("rb") as opened:
        while left:
            chunk = opened.read(min(left, _CHUNK_BYTES))
            if not chunk:
                raise OSError(f"{file} became shorter while it was copied")
            left -= len(chunk)
            yield chunk
