"""Why something failed, in words that may leave the house: images, masks and groups of a search by their codes.

An error names the file at fault, and file names of medical images carry patients' names. A reason goes to terminals,
logs, tables and the states of Optuna and Ray. So whoever hands one on takes the names out of it first; which image a
code is, `names.parquet` says.
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
"""Of a traceback: where in the program. Its folder stays."""

_SUFFIXES = "|".join(re.escape(suffix) for suffix in sorted({*IMAGE_SUFFIXES, ".json"}, key=len, reverse=True))
_UNKNOWN_FILE = re.compile(
    rf"(?:…|[^\s'\":/]+)/(?!(?:img|grp|file)-|annotations\.json|instances\.json)[^/'\":\n]+?({_SUFFIXES})(?![^\W_])",
    re.IGNORECASE,
)
"""A file that the search does not know, such as a mask that nobody paired."""


@dataclass(frozen=True, slots=True)
class FailureWords:
    """codes: each way to spell an image, a mask, a group or a folder -> its code."""

    codes: Mapping[str, str]

    @classmethod
    def of(cls, names: Names, data: DataSettings, samples: Iterable[Sample] = ()) -> "FailureWords":
        """For a search. samples: those that were found, whose masks may be called otherwise than the images."""
        root = Path(data.source)
        # Paths below it begin there, as names do; what lies above it may name people, too.
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
        """A reason in one line."""
        return printable(self._coded(reason))

    def traceback(self, text: str) -> str:
        """Of several lines; the places in the program keep their folders."""
        told, end = [], 0
        for frame in _CODE_FRAME.finditer(text):
            told += [self._coded(text[end : frame.start()]), frame.group()]
            end = frame.end()
        return printable_lines("".join([*told, self._coded(text[end:])]))

    def _coded(self, text: str) -> str:
        return _UNKNOWN_FILE.sub(r"…/a file\1", hide(text, self.codes))
