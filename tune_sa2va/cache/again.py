"""What to do where features in the cache turn out to be damaged: begin again, with encoders that make them anew."""

import logging
from collections.abc import Callable
from typing import TypeVar

from tune_sa2va.errors import DamagedFeaturesError

_T = TypeVar("_T")
_TRIES = 3
"""A file may be damaged by chance, or a few; where there are always more, the disk is to blame."""

log = logging.getLogger(__name__)


def with_sound_features(work: Callable[[], _T]) -> _T:
    """What `work` gives, which loads the base model, fills the cache and reads it.

    Begun anew where it met a damaged file: that one is deleted by then, so that the image is encoded again.

    Raises:
        DamagedFeaturesError: the third time, too.
    """
    for _ in range(_TRIES - 1):
        try:
            return work()
        except DamagedFeaturesError as error:
            log.warning("%s", error)
    return work()
