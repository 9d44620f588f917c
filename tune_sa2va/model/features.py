"""The feature cache: what the frozen encoders make of each image, computed once and read by every trial and search.

A folder a base model, a safetensors file an image. The folder's name says base, preprocessing and dtype, the file's
name the image's content, so equal names hold equal features and nothing ever goes stale. Files appear by rename:
workers of several lanes, or of two searches, may fill one folder at once, and a kill leaves no half file.
"""

import hashlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from jaxtyping import UInt8
from numpy import ndarray
from safetensors import safe_open
from safetensors.torch import save_file

from tune_sa2va.data import Sample, load_image
from tune_sa2va.model.preprocess import encoder_inputs
from tune_sa2va.model.sa2va import ImageFeatures, Sa2VA

_PREPROCESSING = "1"
"""Raise it when `preprocess` changes what the encoders see."""
_FIELDS = ("image_tokens", "embed", "high_res_1", "high_res_0")


class FeatureCache:
    """Features of one base model in one dtype."""

    def __init__(self, root: Path, base_id: str, dtype: torch.dtype, *, raw_high_res: bool) -> None:
        """Use (and make) the folder for this base below `root`.

        raw_high_res: keep the FPN's levels before `conv_s0`/`conv_s1`, for trials that train the mask decoder in full.
        """
        kind = "raw" if raw_high_res else "projected"
        self.folder = root / f"{base_id}-{_PREPROCESSING}-{str(dtype).removeprefix('torch.')}-{kind}"
        self.folder.mkdir(parents=True, exist_ok=True)
        self._dtype = dtype
        self._raw_high_res = raw_high_res

    def fill(self, model: Sa2VA, samples: Sequence[Sample], *, start: int = 0) -> int:
        """Encode what is missing, beginning at sample number `start`; returns how many images this call encoded.

        Lanes that start at different places share the work without speaking to each other.
        """
        encoded = 0
        for index in range(len(samples)):
            sample = samples[(start + index) % len(samples)]
            path = self._path(sample)
            if not path.exists():
                self._write(path, encode(model, load_image(sample.image), raw_high_res=self._raw_high_res))
                encoded += 1
        return encoded

    def load(self, sample: Sample, device: torch.device) -> ImageFeatures:
        """The features of one image on `device`, read through the page cache."""
        with safe_open(self._path(sample), framework="pt", device=str(device)) as file:
            return ImageFeatures(*(file.get_tensor(name) for name in _FIELDS))

    def _path(self, sample: Sample) -> Path:
        return self.folder / f"{_hash_of(sample.image)}.safetensors"

    def _write(self, path: Path, features: ImageFeatures) -> None:
        tensors = {name: getattr(features, name).to("cpu", self._dtype).contiguous() for name in _FIELDS}
        temporary = path.with_suffix(f".{os.getpid()}.tmp")
        save_file(tensors, temporary)
        temporary.replace(path)


@torch.no_grad()
def encode(model: Sa2VA, image: UInt8[ndarray, "H W 3"], *, raw_high_res: bool) -> ImageFeatures:
    """Features of one picture, in the base model's own dtype."""
    inputs = encoder_inputs(image, model.dims)
    reference = model.no_mem_embed
    return model.encode_image(
        inputs.pixel_values.to(reference), inputs.g_pixel_values.to(reference), project_high_res=not raw_high_res
    )


def base_id(folder: Path) -> str:
    """Sixteen hex digits that name a checkpoint: configs whole, of each weight file the size and both ends."""
    digest = hashlib.sha256()
    for path in sorted(folder.iterdir()):
        if path.suffix == ".json" and "tokenizer" not in path.name:
            digest.update(path.name.encode() + path.read_bytes())
        elif path.suffix == ".safetensors":
            digest.update(f"{path.name} {path.stat().st_size}".encode())
            for part in _ends(path):
                digest.update(part)
    return digest.hexdigest()[:16]


def _ends(path: Path, part_bytes: int = 16 << 20) -> Iterator[bytes]:
    # A shard of several GB is not read whole at each start; a changed weight in the middle alone would go unnoticed.
    with path.open("rb") as file:
        yield file.read(part_bytes)
        file.seek(max(0, path.stat().st_size - part_bytes))
        yield file.read(part_bytes)


_hashes: dict[tuple[Path, int, int], str] = {}


def _hash_of(image: Path) -> str:
    stat = image.stat()
    key = (image, stat.st_size, stat.st_mtime_ns)
    if key not in _hashes:
        _hashes[key] = hashlib.sha256(image.read_bytes()).hexdigest()[:32]
    return _hashes[key]
