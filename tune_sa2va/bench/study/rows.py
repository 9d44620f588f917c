"""What the study compares: searches that differ in a few flags, and what can be had from them without another search.

All searches of a seed share the split, so that every row of it is scored on the same locked patients.
"""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class SearchRow:
    """key: of its folders. name: in tables. flags: of the search; `{epochs}` stands for the epochs of a trial."""

    key: str
    name: str
    flags: tuple[str, ...]

    def flags_for(self, epochs: int) -> list[str]:
        """The flags with the epochs of the study."""
        return [flag.format(epochs=epochs) for flag in self.flags]


SEARCHES = (
    SearchRow(
        key="random",
        name="random search, no early stop",
        flags=("--sampler", "random", "--folds", "1", "--grace-period", "{epochs}"),
    ),
    SearchRow(
        key="tpe",
        name="TPE, no early stop",
        flags=("--sampler", "tpe", "--folds", "1", "--grace-period", "{epochs}"),
    ),
    SearchRow(key="tpe-asha", name="TPE with ASHA, one split", flags=("--folds", "1")),
    SearchRow(key="defaults", name="the defaults", flags=()),
    SearchRow(key="deep", name="the defaults over the space deep", flags=("--space", "deep")),
)
"""A grace period of all epochs stops nobody."""

BY_HAND = "tpe-asha"
"""The search whose recipe is what a user trains by hand: once, on the training part."""

FOLDED = "defaults"
"""The search whose winner is also exported as an ensemble."""

ENSEMBLE, UNET = "ensemble", "unet"
"""Keys of the rows that are no search."""

NAMES = (
    {"untuned": "untuned base", "recipe": "the recipe by hand"}
    | {row.key: row.name for row in SEARCHES}
    | {ENSEMBLE: "the defaults, exported as an ensemble", UNET: "U-Net (MONAI), the same images"}
)
"""Key -> name, of every row, in the order of tables."""
