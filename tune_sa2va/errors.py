"""The exceptions that callers catch. Each carries plain values, so that it can be pickled between processes.

A `UserError` is an error that a user can cause and cure. Its message is one sentence; the command line prints it with
the section of docs/troubleshooting.md that explains it, and exits with code 2. A `TrialFailure` ends one trial; the
reason is recorded, and the lane takes the next trial.
"""

from typing import ClassVar


class UserError(Exception):
    """Wrong input from the user. The message says where, what was wanted, what was got and what to do."""

    anchor: ClassVar[str] = "flags"
    """The section of docs/troubleshooting.md that explains it."""


class DataError(UserError):
    """An image, mask, manifest or annotation file cannot be used."""

    anchor = "data"


class DataGoneError(DataError):
    """A file of the data set has disappeared since it was first read. A search waits for it instead of failing."""


class SpaceError(UserError):
    """A search space cannot be searched, or a setting in it does not fit the model."""

    anchor = "search-space"


class CheckpointError(UserError):
    """A model checkpoint, adapter or trial checkpoint cannot be used."""

    anchor = "model"


class DeviceError(UserError):
    """The requested GPUs, nodes or ports are not available."""

    anchor = "gpus-and-clusters"


class CacheError(UserError):
    """The feature cache has no room, or cannot be read or written."""

    anchor = "feature-cache"


class DamagedFeaturesError(CacheError):
    """Cached features are damaged or gone, and were removed from the cache. The encoders can compute them again."""


class ResultsError(UserError):
    """A results folder cannot be used, or another search uses it."""

    anchor = "results-folder"


class NotReproducedError(CheckpointError):
    """An exported adapter, loaded again, does not reach the score that the search recorded."""

    anchor = "afterwards"


class RefitError(UserError):
    """The winner's configuration fails when it is trained on all images."""

    anchor = "afterwards"


class TrialFailure(Exception):
    """A trial cannot go on because of its own configuration or data. Its lane is not affected."""


class NonFiniteError(TrialFailure):
    """A loss or a gradient is NaN or infinite. Raised before the weights are updated."""


class DeadGradientError(TrialFailure):
    """Trainable matrices that the loss depends on get no gradient, or do not change."""
