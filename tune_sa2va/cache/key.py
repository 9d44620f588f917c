"""Names in the cache: of a base model's folder and of an image's file. They depend on content, never on a file name."""

from dataclasses import asdict, dataclass
from pathlib import Path

from tune_sa2va.data.content import file_hash
from tune_sa2va.data.variants import Variant
from tune_sa2va.errors import DataGoneError

PREPROCESSING = "2"
"""Increase it when the same image file would give the encoders other inputs, or the cache other features."""

SUFFIX = ".safetensors"


@dataclass(frozen=True, kw_only=True, slots=True)
class CacheKey:
    """What all files of one folder have in common.

    base: `model_hash` of the base model. dtype: as torch prints it, without `torch.`.
    raw_high_res: the finer levels are stored as they are before `conv_s0` and `conv_s1`, for trials that train the mask
        decoder in full.
    """

    base: str
    dtype: str
    raw_high_res: bool
    preprocessing: str = PREPROCESSING

    @property
    def folder_name(self) -> str:
        kind = "raw" if self.raw_high_res else "projected"
        return f"{self.base[:16]}-{self.preprocessing}-{self.dtype}-{kind}"

    def to_dict(self) -> dict[str, str | bool]:
        return asdict(self)


def file_name(image: str, variant: Variant) -> str:
    """The name of the file for an image in a variant. image: its `image_hash`."""
    return f"{image}-{variant.value}{SUFFIX}"


def image_hash(image: Path) -> str:
    """32 hex digits of the SHA-256 of an image file.

    Raises:
        DataGoneError: the file is no longer there.
    """
    try:
        return file_hash(image)[:32]
    except OSError as error:
        raise DataGoneError(f"{image}: cannot be read ({error.strerror}). Put it back.") from error
