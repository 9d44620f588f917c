"""Which names a report may show: none from the data set, unless asked to.

File names and groups of medical images may contain patients' names. Reports use codes instead. Texts from elsewhere (a
trial's reason for failing, a path in the configuration) are searched for names before they are shown.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from tune_sa2va.data.codes import hide, spellings
from tune_sa2va.data.split_file import NAMES_FILE, read_names


@dataclass(frozen=True, kw_only=True, slots=True)
class ShownNames:
    """The names of a data set. show: whether they may be shown. by_code: image code -> file name. codes: file name,
    stem or group -> its code."""

    show: bool
    by_code: Mapping[str, str]
    codes: Mapping[str, str]

    @classmethod
    def read(cls, folder: Path, *, show: bool) -> "ShownNames":
        """The names in `names.parquet` of a results folder; without that file no names are known.

        Raises:
            DataError: the file cannot be read.
        """
        rows = read_names(folder) if (folder / NAMES_FILE).is_file() else []
        return cls(show=show, by_code={row["image_code"]: row["name"] for row in rows}, codes=spellings(rows))

    def label(self, image_code: str) -> str:
        """What the report calls an image: its name if names may be shown and it is known, else its code."""
        return self.by_code.get(image_code, image_code) if self.show else image_code

    def hide(self, text: str) -> str:
        """The text without folders and with codes for names of the data set; unchanged if names may be shown."""
        return text if self.show else hide(text, self.codes)

    def path(self, path: str) -> str:
        """The last part of a path, since the folders above it may name people and studies; unchanged if names may be
        shown."""
        return path if self.show else self.hide(PurePosixPath(path.replace("\\", "/")).name)
