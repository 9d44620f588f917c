"""Failures of the Ray tasks at the end of a search: each becomes one sentence that names no image."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import ray
from ray.exceptions import RayTaskError

from tune_sa2va.config import DataSettings
from tune_sa2va.data.failure_words import FailureWords
from tune_sa2va.data.split_file import Names, find_samples
from tune_sa2va.errors import DataError, TrialFailure, UserError


@contextmanager
def failures_in_codes(names: Names, data: DataSettings) -> Iterator[None]:
    """In a `UserError` that the block raises, replaces the names of images by their codes. Used inside a task."""
    try:
        yield
    except UserError as error:
        try:
            samples = find_samples(names, data)
        except DataError:
            samples = ()
        raise type(error)(FailureWords.of(names, data, samples).sentence(str(error))) from None


def result_of(task: "ray.ObjectRef[Any]") -> Any:
    """The result of a task, which this waits for.

    Raises:
        UserError, TrialFailure: raised in the task; passed on without the long text that Ray puts before it.
        RayTaskError: the task raised another error.
    """
    try:
        return ray.get(task)
    except RayTaskError as error:
        if isinstance(error.cause, UserError | TrialFailure):
            raise error.cause from error
        raise
