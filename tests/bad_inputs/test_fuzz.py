"""The fuzz run has a whole file for each reader to begin with."""

from pathlib import Path

from tests.bad_inputs.fuzz import _make_places, read, seeds
from tune_sa2va.errors import UserError


def test_every_reader_has_files_that_it_reads(tmp_path: Path) -> None:
    _make_places(tmp_path)
    refused = {}
    for name, contents in seeds().items():
        for number, content in enumerate(contents):
            try:
                read(tmp_path, name, content)
            except UserError as error:
                refused[name, number] = str(error)
    assert refused == {}
