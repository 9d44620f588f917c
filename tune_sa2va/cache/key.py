"""Names in the cache: of a base model's folder and of an image's file. Content alone, never a path or a patient."""

from dataclasses import asdict, dataclass
from pathlib import Path

from tune_sa2va.data.content import file_hash
from tune_sa2va.data.variants import Variant
from tune_sa2va.errors import DataGoneError

PREPROCESSING = "2"
"""Raise it when the same image file would reach the encoders, or leave them, as other numbers."""

SUFFIX = ".safetensors"


@dataclass(frozen=True, kw_only=True, slots=True)
class CacheKey:
    """What all files of one folder have in common.

    base: `model_hash` of the base model. dtype: as torch prints it, without `torch.`. raw_high_res: the finer levels
    before `conv_s0`/`conv_s1`, for trials that train the mask decoder in full.
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
    """The file of an image (its `image_hash`) in a variant."""
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
