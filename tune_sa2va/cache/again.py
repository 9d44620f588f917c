"""Retries work that met damaged features in the cache, so that they are encoded again."""

import logging
from collections.abc import Callable
from typing import TypeVar

from tune_sa2va.errors import DamagedFeaturesError

_T = TypeVar("_T")
_TRIES = 3
"""One or a few files may be damaged by chance. If there are always more, the disk is faulty."""

log = logging.getLogger(__name__)


def with_sound_features(work: Callable[[], _T]) -> _T:
    """The result of `work`, which must load the base model, fill the cache and read it.

    If `work` meets a damaged file, it runs again. The file has been deleted by then, so its image is encoded again.

    Raises:
        DamagedFeaturesError: the third attempt met one, too.
    """
    for _ in range(_TRIES - 1):
        try:
            return work()
        except DamagedFeaturesError as error:
            log.warning("%s", error)
    return work()
