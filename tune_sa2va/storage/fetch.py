"""Fetches a results folder from its copy, on a machine that does not have it. `--resume URI` begins with this."""

import hashlib
import os
import shutil
from pathlib import Path

from tune_sa2va.cache.place import features_folder
from tune_sa2va.durable import publish_folder
from tune_sa2va.errors import ResultsError
from tune_sa2va.results.settings import SearchSettings
from tune_sa2va.storage.manifest import CopiedFile, Manifest, manifest_names, newest_manifest
from tune_sa2va.storage.place import Place, one_line, split
from tune_sa2va.storage.results_copy import write_known

_FLAG = "--resume"


def fetch_search(uri: str, out: Path) -> SearchSettings:
    """Fetches the copy at `uri` to `out` and returns the settings of its search.

    The search keeps its copy at `uri`, and uses the feature cache of this machine.

    Raises:
        UserError: as `fetch`, or the fetched folder does not hold a search.
    """
    settings = SearchSettings.load(fetch(uri, out))
    settings = settings.model_copy(update={"storage": split(uri)[0], "feature_cache": features_folder()})
    settings.save(settings.folder)
    return settings


def fetch(uri: str, out: Path) -> Path:
    """Fetches the copy at `uri` to a new folder of its name in `out`, verifies every checksum, and returns the folder.

    Raises:
        UserError: the folder exists, there is no copy, it is damaged, or something cannot be read or written.
    """
    place = Place.open(_FLAG, uri)
    folder = out / split(uri)[1]
    if folder.exists():
        raise ResultsError(
            f"{folder} exists already. Go on with it by {_FLAG} {folder}, or fetch the copy to another --out."
        )
    unfinished = folder.with_name(f".{folder.name}.{os.getpid()}.part")
    try:
        manifest, names = _find(place)
        for path, file in manifest.files.items():
            _fetch_file(place, file, unfinished / path)
        write_known(unfinished, names)
        publish_folder(unfinished, folder)
    except OSError as error:
        raise ResultsError(
            f"{_FLAG} {uri}: cannot be fetched to {folder} ({one_line(error)}). Check the address, the credentials of "
            "the environment and the disk."
        ) from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return folder


def _find(place: Place) -> tuple[Manifest, set[str]]:
    there = place.sizes()
    newest = newest_manifest(place, there)
    if newest is None:
        raise ResultsError(
            f"{_FLAG} {place.uri}: holds no copy of a search. Give the URI of --storage with /NAME of the search."
        )
    return newest[1], set(manifest_names(there))


def _fetch_file(place: Place, file: CopiedFile, to: Path) -> None:
    digest, size = hashlib.sha256(), 0
    to.parent.mkdir(parents=True, exist_ok=True)
    try:
        with to.open("xb") as opened:
            for chunk in place.read(file.stored):
                size += len(chunk)
                digest.update(chunk)
                opened.write(chunk)
                if size > file.size:
                    break
    except FileNotFoundError:
        size = -1
    if size != file.size or digest.hexdigest() != file.sha256:
        raise ResultsError(
            f"{_FLAG} {place.uri}: {file.stored} is {'missing' if size < 0 else 'damaged (its checksum differs)'}. Put "
            "back an earlier version of it, or go on with the results folder of the machine that ran the search."
        )
