"""Decodes COCO's run lengths: lists of counts, or the text into which pycocotools packs them.

The text (`rleFrString` in maskApi.c of cocodataset/cocoapi): each character, from "0" on, carries six bits. Five are
bits of a number, the lowest first; the sixth says that more follow. The fifth bit of a number's last character is its
sign. From the third on, a number is the difference to the one two places before.
"""

import numpy as np
from jaxtyping import Bool

from tune_sa2va.data.sample import Runs

_FIRST_LETTER, _LETTERS = 48, 64
_MORE, _SIGN, _BITS = 0x20, 0x10, 5
_MOST_LETTERS_A_NUMBER = 7


def unpacked(text: str) -> tuple[int, ...]:
    """The counts in a packed text.

    Raises:
        ValueError: the text is not packed run lengths.
    """
    counts: list[int] = []
    number = shift = 0
    for letter in text:
        six = ord(letter) - _FIRST_LETTER
        if not 0 <= six < _LETTERS or shift >= _BITS * _MOST_LETTERS_A_NUMBER:
            raise ValueError("no packed run lengths")
        number |= (six & 0x1F) << shift
        shift += _BITS
        if six & _MORE:
            continue
        if six & _SIGN:
            number -= 1 << shift
        counts.append(number + (counts[-2] if len(counts) > 2 else 0))
        number = shift = 0
    if shift:
        raise ValueError("the run lengths end in the middle of a number")
    return tuple(counts)


def unrolled(runs: Runs) -> Bool[np.ndarray, "H W"]:
    """The mask; True where the runs are inside."""
    height, width = runs.size_px
    is_in = np.arange(len(runs.counts)) % 2 == 1
    return np.repeat(is_in, runs.counts).reshape(width, height).T
