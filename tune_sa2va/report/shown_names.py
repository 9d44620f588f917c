"""Which names a report may show: none of the data set's, unless asked.

File names and groups of medical images carry patients' names. Reports speak of codes; texts that others wrote (a
trial's reason for failing, a path in the configuration) are searched for names before they are shown.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from tune_sa2va.data.codes import hide, spellings
from tune_sa2va.data.split_file import NAMES_FILE, read_names


@dataclass(frozen=True, kw_only=True, slots=True)
class ShownNames:
    """show: whether names may be shown. by_code: image code -> file name. codes: name, stem or group -> its code."""

    show: bool
    by_code: Mapping[str, str]
    codes: Mapping[str, str]

    @classmethod
    def read(cls, folder: Path, *, show: bool) -> "ShownNames":
        """From `names.parquet` of a results folder; without that file every image keeps its code.

        Raises:
            DataError: the file cannot be read.
        """
        rows = read_names(folder) if (folder / NAMES_FILE).is_file() else []
        return cls(show=show, by_code={row["image_code"]: row["name"] for row in rows}, codes=spellings(rows))

    def label(self, image_code: str) -> str:
        """How the report calls an image."""
        return self.by_code.get(image_code, image_code) if self.show else image_code

    def hide(self, text: str) -> str:
        """The text with folders cut off and each name of the data set as its code; whole where names may be shown."""
        return text if self.show else hide(text, self.codes)

    def path(self, path: str) -> str:
        """A path of this machine: its last part, since folders above it name people and studies; whole if shown."""
        return path if self.show else self.hide(PurePosixPath(path.replace("\\", "/")).name)
