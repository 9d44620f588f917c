"""The manifest, `ray/copy/NUMBER-SHA256.json`: lists the files that make up one state of a copied results folder.

A pass writes its manifest last. The name holds the checksum of the content, so a manifest that was cut off does not
count; the newest complete one defines the copy. No file that it lists is overwritten or deleted before the next
manifest is written. So an interrupted pass leaves the state before it or the state after it.
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
    """The path, if it does not lead out of its folder: a manifest may come from a stranger."""
    parts = PurePosixPath(path).parts
    if not parts or path != "/".join(parts) or ".." in parts or path.startswith("/") or "\0" in path:
        raise ValueError(f"leads elsewhere: {path!r}")
    return path


_Path = Annotated[str, AfterValidator(_within)]


class CopiedFile(Frozen):
    """One file of the results. stored: where the copy has its content, which may differ from the file's own path."""

    stored: _Path
    size: int = Field(ge=0)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")


class Manifest(Frozen):
    """All files of one state of the results, by path."""

    version: Literal[1] = 1
    files: dict[_Path, CopiedFile]

    def to_bytes(self) -> bytes:
        """The manifest as JSON."""
        return self.model_dump_json().encode()


def manifest_name(number: int, content: bytes) -> str:
    """The path of a manifest in the copy. number: the number of its pass, from 1. content: `to_bytes` of it."""
    return f"{FOLDER}/{number:06d}-{hashlib.sha256(content).hexdigest()}.json"


def manifest_names(paths: Iterable[str]) -> list[str]:
    """Those of `paths` that name manifests, newest first."""
    return sorted(filter(_NAME.fullmatch, paths), key=number_of, reverse=True)


def number_of(name: str) -> int:
    """The number of the pass that wrote the manifest with this name."""
    found = _NAME.fullmatch(name)
    assert found is not None, name
    return int(found[1])


def newest_manifest(place: Place, paths: Iterable[str]) -> tuple[str, Manifest] | None:
    """(path, manifest) of the newest complete manifest; None if there is none. paths: all files of `place`.

    Raises:
        OSError: it cannot be read, or was written by another version.
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
