"""`content.parquet`: hashes of a search's images and masks, and the part and fold that each image is in.

It is in every results folder, and a copy in every export. So images are recognised by content wherever the data lie
later, and changed files are noticed. It holds no names.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import pyarrow as pa
import pyarrow.parquet as pq

from tune_sa2va.data.codes import image_code
from tune_sa2va.data.content import Content, content_of
from tune_sa2va.data.sample import Sample, Split
from tune_sa2va.durable_table import write_table
from tune_sa2va.errors import DataError

CONTENT_FILE = "content.parquet"

_COLUMNS = ("image_code", "text", "split", "image_sha256", "mask_sha256")
_WITHOUT_FOLDS = pa.schema([(name, pa.string()) for name in _COLUMNS], metadata={"schema_version": "1"})
"""The first version of the file, which earlier searches wrote. With one split it is complete."""
_SCHEMA = pa.schema([*_WITHOUT_FOLDS, ("fold", pa.int64())], metadata={"schema_version": "2"})


@dataclass(frozen=True, slots=True)
class KnownImage:
    """One sample as the search found it."""

    image_code: str
    text: str
    split: Split
    content: Content
    fold: int | None = None
    """None for images of the test part, with one split, and in the first version of the file."""


class KnownImages:
    """All samples of a search, in the order of its `names.parquet`."""

    def __init__(self, images: Sequence[KnownImage]) -> None:
        self.images = tuple(images)
        self._parts = {known.content.image_sha256: known.split for known in images}
        self._folds = {known.content.image_sha256: known.fold for known in images}
        self._validated = {
            known.content.image_sha256 for known in images if known.split == "val" or known.fold is not None
        }
        self._masks = {(known.text, known.content) for known in images}

    def part_of(self, sample: Sample) -> Split | None:
        """The part that `sample`'s image was in, for any of its texts; None if the search did not know the image."""
        return self._parts.get(content_of(sample).image_sha256)

    def fold_of(self, sample: Sample) -> int | None:
        """The fold that `sample`'s image is in, whose adapter was not trained on it; None if there is none."""
        return self._folds.get(content_of(sample).image_sha256)

    def validates(self, sample: Sample) -> bool:
        """Whether trials were scored on `sample`'s image, because it is in val or in a fold."""
        return content_of(sample).image_sha256 in self._validated

    def has_mask_of(self, sample: Sample) -> bool:
        """Whether the search knew exactly this mask for this image and text."""
        return (sample.text, content_of(sample)) in self._masks


def write_content(folder: Path, samples: Sequence[Sample]) -> None:
    """Write the file into `folder`. samples: with their parts set.

    Raises:
        DataError: a file is no longer there.
    """
    rows: list[dict[str, Any]] = []
    for sample in samples:
        content = content_of(sample)
        values = (image_code(sample), sample.text, sample.split, content.image_sha256, content.mask_sha256)
        rows.append(dict(zip(_COLUMNS, values, strict=True)) | {"fold": sample.fold})
    write_table(folder / CONTENT_FILE, pa.Table.from_pylist(rows, schema=_SCHEMA))


def read_content(folder: Path) -> KnownImages | None:
    """The images known to the search, or to the export, in `folder`; None if there is no `content.parquet`.

    Raises:
        DataError: the file cannot be read.
    """
    path = folder / CONTENT_FILE
    if not path.exists():
        return None
    cure = "Put back a copy of it, or remove it and go on without."
    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"{path}: cannot be read ({str(error).splitlines()[0]}). {cure}") from error
    is_ours = any(table.schema.equals(schema) for schema in (_SCHEMA, _WITHOUT_FOLDS))
    rows: list[dict[str, Any]] = table.to_pylist() if is_ours else []
    if not rows or any(row["split"] not in get_args(Split) for row in rows):
        raise DataError(f"{path}: does not hold what this tune_sa2va writes. {cure}")
    return KnownImages([_known(row) for row in rows])


def _known(row: Mapping[str, Any]) -> KnownImage:
    content = Content(row["image_sha256"], row["mask_sha256"])
    return KnownImage(row["image_code"], row["text"], row["split"], content, row.get("fold"))
