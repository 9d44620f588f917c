"""The Ray tasks at a search's end: their failures come back as one sentence that names no image."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import ray
from ray.exceptions import RayTaskError

from tune_sa2va.config import DataSettings
from tune_sa2va.data.failure_words import FailureWords
from tune_sa2va.data.split_file import Names, find_samples
from tune_sa2va.errors import DataError, UserError


@contextmanager
def failures_in_codes(names: Names, data: DataSettings) -> Iterator[None]:
    """Inside a task: a `UserError` of the block calls images by their codes from here on."""
    try:
        yield
    except UserError as error:
        try:
            samples = find_samples(names, data)
        except DataError:
            samples = ()
        raise type(error)(FailureWords.of(names, data, samples).sentence(str(error))) from None


def result_of(task: "ray.ObjectRef[Any]") -> Any:
    """What a task gives.

    Raises:
        UserError: the task's own, without the pages that Ray puts before it.
        RayTaskError: another fault of the task.
    """
    try:
        return ray.get(task)
    except RayTaskError as error:
        if isinstance(error.cause, UserError):
            raise error.cause from error
        raise
