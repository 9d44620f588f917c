"""The exceptions that callers catch. Each carries plain values, so that it survives the trip between processes.

`UserError` is what a user can cause and cure: one sentence that names the thing and the cure; the command line prints
it with the section of docs/troubleshooting.md that says more, and exits 2. `TrialFailure` ends one trial with a reason
in its record and leaves its lane sound.
"""

from typing import ClassVar


class UserError(Exception):
    """Something the user gave is wrong. The message says where, what was wanted, what was got and what to do."""

    anchor: ClassVar[str] = "flags"
    """Of the section in docs/troubleshooting.md."""


class DataError(UserError):
    """An image, mask, manifest or annotation file cannot be used."""

    anchor = "data"


class DataGoneError(DataError):
    """A file of a data set that was there cannot be reached any more: a search waits for it, rather than fail."""


class SpaceError(UserError):
    """A search space cannot be searched, or a setting in it does not fit the model."""

    anchor = "search-space"


class CheckpointError(UserError):
    """A model checkpoint, adapter or trial checkpoint cannot be used."""

    anchor = "model"


class DeviceError(UserError):
    """There are not the GPUs, nodes or ports that were asked for."""

    anchor = "gpus-and-clusters"


class CacheError(UserError):
    """The feature cache has no room, or cannot be read or written."""

    anchor = "feature-cache"


class DamagedFeaturesError(CacheError):
    """Features in the cache are damaged or gone, and were taken out of it: the encoders can make them anew."""


class ResultsError(UserError):
    """A results folder cannot be used, or another search uses it."""

    anchor = "results-folder"


class NotReproducedError(CheckpointError):
    """An export, loaded again, does not score what the search recorded."""

    anchor = "afterwards"


class TrialFailure(Exception):
    """A trial cannot go on, for a reason that lies in its own configuration or data. The lane stays sound."""


class NonFiniteError(TrialFailure):
    """A loss or a gradient is NaN or infinite. Raised before the weights change."""


class DeadGradientError(TrialFailure):
    """Trainable matrices that lie on the path get no gradient, or do not move."""
