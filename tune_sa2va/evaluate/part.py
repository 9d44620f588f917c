"""Which images are scored: a part of the split that goes with the model, found again on the same data."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from tune_sa2va.data import Sample, fingerprint, split_by_group
from tune_sa2va.errors import UserError
from tune_sa2va.evaluate.tuned import Tuned

PartName = Literal["test", "val", "train", "all"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """name: `all` where the parts cannot be known. note: what a reader of the scores must know."""

    name: PartName
    samples: tuple[Sample, ...]
    note: str


def choose_part(samples: Sequence[Sample], tuned: Tuned | None, asked: PartName | None) -> Part:
    """`asked`, or by default the test part of the search; all images where this is not the search's data.

    Raises:
        UserError: a part is asked for, but the model knows of no split.
        DataError: a file is gone.
    """
    if asked == "all":
        return Part(name="all", samples=tuple(samples), note="")
    if tuned is None:
        if asked is not None:
            raise UserError(
                f"--part {asked}: no split is recorded with this model. Leave it out to score all images, or give "
                "an --adapter that a search exported."
            )
        return Part(name="all", samples=tuple(samples), note="")
    if (found := fingerprint(samples)) != tuned.data_fingerprint:
        note = (
            f"This is not the data of the search (fingerprint {found[:12]}..., the search had "
            f"{tuned.data_fingerprint[:12]}...), so all images are scored. Where some of them were trained on, the "
            "scores are too good."
        )
        return Part(name="all", samples=tuple(samples), note=note)
    name: PartName = asked or "test"
    cut = split_by_group(samples, tuned.split.ratios, seed=tuned.split.seed)
    return Part(name=name, samples=tuple(sample for sample in cut if sample.split == name), note="")
