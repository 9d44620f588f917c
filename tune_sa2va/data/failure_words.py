"""Replaces names in error messages by codes: images, masks, groups and folders of a search.

An error names the file at fault, and file names of medical images may hold names of patients. Reasons of failures end
up on terminals, in logs and tables, and in the state of Optuna and Ray. So names are replaced before a reason is
passed on; `names.parquet` says which image a code stands for.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from tune_sa2va.config import DataSettings
from tune_sa2va.data.codes import SHORTEST_HIDDEN, hide, spellings
from tune_sa2va.data.endings import IMAGE_SUFFIXES, image_stem
from tune_sa2va.data.sample import Label, Polygons, Sample
from tune_sa2va.data.split_file import Names
from tune_sa2va.printable import printable, printable_lines

_CODE_FRAME = re.compile(r'^  File "[^"]+\.py", line \d+', re.MULTILINE)
"""The line of a traceback that names a source file; its folders are kept."""

_SUFFIXES = "|".join(re.escape(suffix) for suffix in sorted({*IMAGE_SUFFIXES, ".json"}, key=len, reverse=True))
_UNKNOWN_FILE = re.compile(
    rf"(?:…|[^\s'\":/]+)/(?!(?:img|grp|file)-|annotations\.json|instances\.json)[^/'\":\n]+?({_SUFFIXES})(?![^\W_])",
    re.IGNORECASE,
)
"""A file that the search does not know, such as a mask without an image."""


@dataclass(frozen=True, slots=True)
class FailureWords:
    """codes: each spelling of an image, a mask, a group or a folder -> its code."""

    codes: Mapping[str, str]

    @classmethod
    def of(cls, names: Names, data: DataSettings, samples: Iterable[Sample] = ()) -> "FailureWords":
        """The codes of a search. samples: those found on disk; their masks may have other names than the images."""
        root = Path(data.source)
        # Paths below the root are cut to names in the data set; the folders above it may name people, too.
        codes = spellings(names) | {f"{root}/": "", str(root): "the data set", f"{root.parent}/": ""}
        code_of = {(row["name"], row["text"]): row["image_code"] for row in names}
        for sample in samples:
            files = [sample.image]
            if not isinstance(sample.mask, Polygons):
                files.append(sample.mask.file if isinstance(sample.mask, Label) else sample.mask)
            for file in files:
                for spelling in (str(file), printable(str(file)), file.name, image_stem(file)):
                    if len(spelling) >= SHORTEST_HIDDEN:
                        codes.setdefault(spelling, code_of[sample.name, sample.text])
        return cls(codes)

    def sentence(self, reason: str) -> str:
        """A reason, with codes, in one line."""
        return printable(self._coded(reason))

    def traceback(self, text: str) -> str:
        """A traceback, with codes; source files keep their folders."""
        told, end = [], 0
        for frame in _CODE_FRAME.finditer(text):
            told += [self._coded(text[end : frame.start()]), frame.group()]
            end = frame.end()
        return printable_lines("".join([*told, self._coded(text[end:])]))

    def _coded(self, text: str) -> str:
        return _UNKNOWN_FILE.sub(r"…/a file\1", hide(text, self.codes))
