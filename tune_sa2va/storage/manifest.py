"""What makes up one state of a copied results folder: `ray/copy/NUMBER-SHA256.json`, written last and in one piece.

A copy is the newest manifest that is whole: its name has its checksum, so one that was cut off is none. Nothing that it
refers to is written over or taken away before the next one is there. So whatever cuts a pass off leaves the state
before it, or the one after it.
"""

import hashlib
import re
from collections.abc import Iterable
from pathlib import PurePosixPath
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, ValidationError

from tune_sa2va.config import Frozen
from tune_sa2va.storage.place import Place

FOLDER = "ray/copy"
_NAME = re.compile(rf"{FOLDER}/(\d{{6,}})-([0-9a-f]{{64}})\.json")


def _within(path: str) -> str:
    """A path that does not lead out of its folder: a manifest may come from a stranger."""
    parts = PurePosixPath(path).parts
    if not parts or path != "/".join(parts) or ".." in parts or path.startswith("/") or "\0" in path:
        raise ValueError(f"leads elsewhere: {path!r}")
    return path


_Path = Annotated[str, AfterValidator(_within)]


class CopiedFile(Frozen):
    """One file of the results. stored: path of its content in the copy, which need not be the file's own."""

    stored: _Path
    size: int = Field(ge=0)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")


class Manifest(Frozen):
    """All files of the results, by their paths."""

    version: Literal[1] = 1
    files: dict[_Path, CopiedFile]

    def to_bytes(self) -> bytes:
        """As it is stored."""
        return self.model_dump_json().encode()


def manifest_name(number: int, content: bytes) -> str:
    """The path of a manifest in the copy. number: of the pass that writes it, from 1."""
    return f"{FOLDER}/{number:06d}-{hashlib.sha256(content).hexdigest()}.json"


def manifest_names(paths: Iterable[str]) -> list[str]:
    """Those of manifests, the newest first."""
    return sorted(filter(_NAME.fullmatch, paths), key=number_of, reverse=True)


def number_of(name: str) -> int:
    """Of a manifest's name."""
    found = _NAME.fullmatch(name)
    assert found is not None, name
    return int(found[1])


def newest_manifest(place: Place, paths: Iterable[str]) -> tuple[str, Manifest] | None:
    """The newest one that is whole among `paths`, which are all of the place, with its own path; None without one.

    Raises:
        OSError: it cannot be read.
    """
    for name in manifest_names(paths):
        content = b"".join(place.read(name))
        if name == manifest_name(number_of(name), content):
            try:
                return name, Manifest.model_validate_json(content)
            except ValidationError as error:
                problem = error.errors()[0]["msg"]
                raise OSError(f"{name} was not written by this version of tune_sa2va: {problem}") from error
    return None
