"""The rows of a study: searches that differ in a few flags, and rows that need no further search.

All searches of a seed share the split, so that all its rows are scored on the same locked patients.
"""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class SearchRow:
    """key: in names of folders. name: in tables. flags: of the search; `{epochs}` stands for the epochs of a trial."""

    key: str
    name: str
    flags: tuple[str, ...]

    def flags_for(self, epochs: int) -> list[str]:
        """The flags, with the number of epochs filled in."""
        return [flag.format(epochs=epochs) for flag in self.flags]


SEARCHES = (  # from the shortest to the longest, more or less
    SearchRow(
        key="random",
        name="random search, no early stop",
        flags=("--space", "wide", "--sampler", "random", "--folds", "1", "--grace-period", "{epochs}"),
    ),
    SearchRow(
        key="tpe",
        name="TPE, no early stop",
        flags=("--space", "wide", "--sampler", "tpe", "--folds", "1", "--grace-period", "{epochs}"),
    ),
    SearchRow(key="tpe-asha", name="TPE with ASHA, one split", flags=("--space", "wide", "--folds", "1")),
    SearchRow(key="wide", name="TPE with ASHA, folds", flags=("--space", "wide")),
    SearchRow(key="deep", name="TPE with ASHA, folds, deep: the defaults", flags=("--space", "deep")),
)
"""All but the last are over `wide`. With a grace period of all epochs, no trial is stopped."""

BY_HAND = "tpe-asha"
"""The search whose recipe is what a user trains by hand: once, on the training part."""

FOLDED = "wide"
"""The search whose winner is also exported as an ensemble."""

UNSTOPPED = ("random", "tpe")
"""The searches whose trials all run to the end."""

LARGEST = "deep"
"""The search over the largest space, whose winners are pictured."""

ENSEMBLE, UNET = "ensemble", "unet"
"""Keys of rows that are not searches."""

NAMES = (
    {"untuned": "untuned base", "recipe": "the recipe by hand"}
    | {row.key: row.name for row in SEARCHES}
    | {ENSEMBLE: "TPE with ASHA, folds, as an ensemble", UNET: "U-Net (MONAI), the same images"}
)
"""Key -> name of every row, in the order of tables."""
