"""Labels: which value or colour of a mask file stands for which text."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tune_sa2va.data.sample import Label, Sample
from tune_sa2va.errors import DataError, UserError

_VALUE = re.compile(r"\d{1,5}|#[0-9a-f]{6}", re.IGNORECASE)
_BACKGROUND = "background"
_MAX_LABELS = 256
_MAX_TEXT_LETTERS = 4_096


@dataclass(frozen=True, slots=True)
class Labels:
    """texts: text -> the values that show it, as `colour_name` writes them. background: the values without a text."""

    texts: Mapping[str, tuple[str, ...]]
    background: tuple[str, ...] = ("0",)

    @property
    def known(self) -> frozenset[str]:
        """Every value that a label map may hold."""
        return frozenset((*self.background, *(value for values in self.texts.values() for value in values)))

    def of(self, sample: Sample, file: Path) -> Iterator[Sample]:
        """`sample` once for each text, with that text's part of the label map `file` as its mask."""
        for text, values in self.texts.items():
            yield replace(sample, mask=Label(file=file, values=values, known=tuple(sorted(self.known))), text=text)


def parse_labels(said: str, *, where: str = "--labels") -> Labels:
    """The labels in `1=artery,2=vein`, or with colours, `#ff0000=artery`. Several values of one text are united.

    0 (black) is background unless it has a text. `#808080` and 128 are the same value. where: the flag or column that
    errors name.

    Raises:
        UserError: not of that form, or a value has two texts.
    """
    texts: dict[str, list[str]] = {}
    for part in said.split(","):
        value, _, text = (piece.strip() for piece in part.partition("="))
        if not _VALUE.fullmatch(value) or not text:
            raise UserError(
                f"{where}: '{part.strip()}' is not a label. Write VALUE=TEXT, separated by commas: 1=artery,2=vein or "
                "#ff0000=artery."
            )
        texts.setdefault(text, []).append(_plain(value))
    return _labels(texts, where)


def labels_of_nnunet(table: Any, where: Path) -> Labels:
    """The labels in `labels` of a dataset.json: name -> value or list of values, or value -> name (its first version).

    Raises:
        UserError: too many labels, or a text that is too long.
        DataError: neither of these forms, or it has the label `ignore`.
    """
    if not isinstance(table, dict) or not table:
        raise DataError(f'{where}: \'labels\' must be an object such as {{"background": 0, "artery": 1}}. Write it so.')
    texts: dict[str, list[str]] = {}
    for key, value in table.items():
        name, values = (value, [key]) if isinstance(value, str) and key.isdecimal() else (key, value)
        values = values if isinstance(values, list) else [values]
        if not all(_is_value(each) for each in values) or not values or not str(name).strip():
            raise DataError(
                f"{where}: label '{str(key)[:80]}' must have a whole number, or a list of them. Correct it."
            )
        texts.setdefault(str(name).strip(), []).extend(str(int(each)) for each in values)
    if "ignore" in texts:
        raise DataError(f"{where}: the label 'ignore' is not supported. Give its pixels a label of their own, or 0.")
    background = tuple(texts.pop(_BACKGROUND, ["0"]))
    return _labels(texts, str(where), background=background, shared=True)


def labelled(samples: Sequence[Sample], labels: Labels) -> tuple[Sample, ...]:
    """`samples` with each mask file read as a label map: a sample for each text. Several rows of one file count once.

    Raises:
        DataError: no sample has a mask file.
    """
    files = [(sample, sample.mask) for sample in samples if isinstance(sample.mask, Path)]
    if samples and not files:
        raise DataError("--labels: no image has a mask file; polygons have their texts with them. Leave it out.")
    found: dict[tuple[str, str], Sample] = {}
    for sample, file in files:
        for each in labels.of(sample, file):
            found.setdefault((each.name, each.text), each)
    rest = [sample for sample in samples if not isinstance(sample.mask, Path)]
    return tuple(sorted((*found.values(), *rest), key=lambda sample: (sample.name, sample.text)))


def _labels(
    texts: Mapping[str, Sequence[str]], where: str, *, background: tuple[str, ...] = ("0",), shared: bool = False
) -> Labels:
    """shared: whether a value may belong to several texts, as in nnU-Net's regions."""
    values = [value for found in texts.values() for value in found]
    if not values or len(values) > _MAX_LABELS:
        raise UserError(f"{where}: must have 1 to {_MAX_LABELS} labels, got {len(values)}.")
    if any(len(text) > _MAX_TEXT_LETTERS for text in texts):
        raise UserError(f"{where}: a text has more than {_MAX_TEXT_LETTERS} letters. Say it in a few words.")
    if not shared and len(set(values)) < len(values):
        twice = next(value for value in values if values.count(value) > 1)
        raise UserError(f"{where}: {twice} stands for two texts, or twice for one. Give each value once.")
    taken = set(values)
    return Labels(
        texts={text: tuple(dict.fromkeys(found)) for text, found in texts.items()},
        background=tuple(value for value in background if value not in taken),
    )


def _plain(value: str) -> str:
    """The value as `colour_name` writes it: greys as a number."""
    if not value.startswith("#"):
        return str(int(value))
    red, green, blue = value[1:3], value[3:5], value[5:7]
    return str(int(red, 16)) if red.lower() == green.lower() == blue.lower() else value.lower()


def _is_value(value: Any) -> bool:
    if isinstance(value, str):
        return value.isdecimal() and len(value) <= 5
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= 65_535
