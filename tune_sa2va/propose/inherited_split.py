"""The split of a search with a warm start: images of the earlier search keep their parts, matched by content.

The inherited trials were chosen by the earlier search's validation part. So an image that was used there for training
or validation is not put into the test part here, unless the data set itself says so. In that case the new test part
counts as opened. It also counts as opened if the earlier search has scored images of it.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from tune_sa2va.data import Sample, split_by_group
from tune_sa2va.data.codes import image_code
from tune_sa2va.data.sample import Split
from tune_sa2va.data.split_file import read_parts
from tune_sa2va.errors import DataError, ResultsError
from tune_sa2va.results.test_scores import OPENINGS, SCORES_FILE


@dataclass(frozen=True, kw_only=True, slots=True)
class Overlap:
    """How the parts of two searches overlap, in numbers of images.

    known: images of the new search that the earlier one had. moved: those of `known` that are in another part now.
    tested: images of the new test part. seen: those of `tested` that the earlier search trained or validated on.
    tested_again: those of `tested` that were in the earlier test part.
    """

    known: int
    moved: int
    tested: int
    seen: int
    tested_again: int


def split_after(
    samples: Sequence[Sample], earlier: Path, ratios: tuple[float, float, float], *, seed: int
) -> tuple[Sample, ...]:
    """`samples` with their parts: the data set's own first, then those of the search in `earlier`, then a new split.

    ratios: shares of train, val and test. If the images of a group were in several parts there (groups have been edited
    since), the group goes to train before val, and to val before test. If the inherited parts would leave a part empty,
    the data are split as without a warm start.

    Raises:
        DataError: as `split_by_group`.
    """
    parts = read_parts(earlier)
    known: defaultdict[str, set[Split]] = defaultdict(set)
    for sample in samples:
        if (part := parts.get(image_code(sample))) is not None:
            known[sample.group].add(part)
    given = {sample.group for sample in samples if sample.split is not None}
    kept = {group: min(found, key=("train", "val", "test").index) for group, found in known.items()}
    inherited = [
        sample if sample.group in given or sample.group not in kept else replace(sample, split=kept[sample.group])
        for sample in samples
    ]
    try:
        return split_by_group(inherited, ratios, seed=seed)
    except DataError:
        return split_by_group(samples, ratios, seed=seed)


def overlap(earlier: Path, folder: Path) -> Overlap:
    """How the parts of the new search in `folder` overlap those of the search in `earlier`."""
    there, here = read_parts(earlier), read_parts(folder)
    test = [code for code, part in here.items() if part == "test"]
    return Overlap(
        known=sum(code in there for code in here),
        moved=sum(code in there and there[code] != part for code, part in here.items()),
        tested=len(test),
        seen=sum(there.get(code) in ("train", "val") for code in test),
        tested_again=sum(there.get(code) == "test" for code in test),
    )


def openings(folder: Path) -> int | None:
    """How often models were scored on the test part of the search in `folder`; None if it was not scored yet.

    Raises:
        ResultsError: the file cannot be read.
    """
    path = folder / SCORES_FILE
    try:
        return int((pq.read_schema(path).metadata or {}).get(OPENINGS, b"1"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, pa.ArrowException) as error:
        raise ResultsError(f"{path}: cannot be read ({str(error).splitlines()[0]}). Put back a copy of it.") from error
