"""Checks of the place for a copy of the results (`--storage`): it is writable and holds no other search."""

from pathlib import Path

from tune_sa2va.errors import ResultsError
from tune_sa2va.results.settings import SearchSettings


def examine_place(uri: str | None, out: Path, name: str) -> str | None:
    """The URI, after checking that a copy of OUT/NAME can be kept there; None as it is.

    Raises:
        UserError: it cannot be read or written, it lies inside the results folder, or URI/NAME is taken.
    """
    if uri is None:
        return None
    from tune_sa2va.storage.place import Place, join, one_line

    parent, place = Place.open("--storage", uri), Place.open("--storage", join(uri, name))
    if (local := place.local) is not None and (out / name in (local, *local.parents) or local in (out / name).parents):
        raise ResultsError(f"--storage {uri}: {local} overlaps the results folder {out / name}. Choose another place.")
    parent.check_writable("--storage")
    try:
        is_taken = bool(place.sizes())
    except OSError as error:
        raise ResultsError(f"--storage {uri}: cannot be read ({one_line(error)}). Check who may read there.") from error
    if is_taken:
        raise ResultsError(
            f"--storage {uri}: holds {name} already. Choose another --name, or continue that search with "
            f"--resume {place.uri}."
        )
    return uri


def examine_copy(settings: SearchSettings, storage: str) -> None:
    """Checks that the copy at `storage` can be written and belongs to this search.

    Raises:
        UserError: it cannot be read or written, or belongs to another search.
    """
    from tune_sa2va.storage.place import Place, join, one_line
    from tune_sa2va.storage.results_copy import ResultsCopy

    Place.open("--storage", storage).check_writable("--storage")
    place = Place.open("--storage", join(storage, settings.name))
    try:
        ResultsCopy(settings.folder, place).check_ours()
    except OSError as error:
        raise ResultsError(
            f"--storage {storage}: cannot be read ({one_line(error)}). Check who may read there."
        ) from error
