"""An open folder of the cache: finds missing pictures and reads features."""

import logging
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import BinaryIO, NamedTuple

import torch
from torch import Tensor

from tune_sa2va.cache.about import note_model
from tune_sa2va.cache.feature_file import DamagedFileError, map_file, read_into, read_layout
from tune_sa2va.cache.key import CacheKey, file_name, image_hash
from tune_sa2va.cache.shapes import misfit
from tune_sa2va.cache.usage import use
from tune_sa2va.config import Augment
from tune_sa2va.data import Sample
from tune_sa2va.data.variants import Variant, variants_of
from tune_sa2va.errors import CacheError, DamagedFeaturesError
from tune_sa2va.model.dims import read_dims
from tune_sa2va.model.identity import model_hash
from tune_sa2va.model.sa2va import ImageFeatures

log = logging.getLogger(__name__)


class Picture(NamedTuple):
    """An image file in one variant. Each picture has one file in the cache."""

    image: Path
    variant: Variant = Variant.AS_IS


def pictures(samples: Iterable[Sample], augment: Augment) -> list[Picture]:
    """Every picture that training on `samples` may show, each once. An image with several texts is one picture."""
    images = dict.fromkeys(sample.image for sample in samples)
    return [Picture(image, variant) for image in images for variant in variants_of(augment)]


class FeatureCache:
    """Features of one base model in one dtype. While it is open, `cache rm` does not remove the folder."""

    def __init__(self, root: Path, model_folder: Path, dtype: torch.dtype, *, raw_high_res: bool) -> None:
        """Opens the folder for this base in `root`; makes it if necessary.

        raw_high_res: keep the FPN's finer levels as they are before `conv_s0` and `conv_s1`, for trials that train the
            mask decoder in full.

        Raises:
            CacheError: the folder cannot be made or written.
        """
        key = CacheKey(
            base=model_hash(model_folder), dtype=str(dtype).removeprefix("torch."), raw_high_res=raw_high_res
        )
        self.root, self.folder = root, root / key.folder_name
        self.dtype, self.raw_high_res = dtype, raw_high_res
        self.dims = read_dims(model_folder)
        self._sound: set[Path] = set()
        self._read: set[Path] = set()
        self._damaged: set[Path] = set()
        try:
            self._lock: BinaryIO = use(self.folder)
            note_model(self.folder, key, model_folder.name)
        except OSError as error:
            raise CacheError(
                f"{self.folder}: features cannot be kept there ({error.strerror}). "
                "Set TUNE_SA2VA_CACHE to a folder that can be written."
            ) from error

    def close(self) -> None:
        """Releases the folder for `cache rm`; loaded features stay valid. The end of the process does the same."""
        self._lock.close()

    def path(self, picture: Picture) -> Path:
        """The path of a picture's file, whether it exists or not."""
        return self.folder / file_name(image_hash(picture.image), picture.variant)

    def missing(self, wanted: Sequence[Picture]) -> list[Picture]:
        """The pictures of `wanted` without a complete file. Damaged files count as missing, with a warning."""
        return [picture for picture in wanted if not self.is_whole(self.path(picture))]

    def is_whole(self, path: Path) -> bool:
        """Whether a file exists with the right length and header. If so, it is not checked again."""
        if path in self._sound:
            return True
        try:
            layout = read_layout(path)
        except FileNotFoundError:
            return False
        except DamagedFileError as error:
            return self._is_damaged(path, str(error))
        if problem := misfit(layout, self.dims, self.dtype, raw_high_res=self.raw_high_res):
            return self._is_damaged(path, problem)
        self._sound.add(path)
        return True

    def _is_damaged(self, path: Path, reason: str) -> bool:
        if path not in self._damaged:
            log.warning("%s is damaged (%s); the image is encoded again.", path, reason)
            self._damaged.add(path)
        return False

    def load(self, sample: Sample, variant: Variant = Variant.AS_IS, *, out: Tensor | None = None) -> ImageFeatures:
        """Features of one image on the CPU, in the cache's dtype.

        Without `out` they are views into the mapped file: nothing is copied, and all processes of the node share the
        pages. With `out`, a CPU tensor of uint8 that is long enough (`num_bytes`), pinned or not, they are copied into
        it and are views into it: one read, no page faults, and the buffer can be copied to a GPU in one piece. When a
        file is read for the first time, its data are compared with their checksum.

        Raises:
            DamagedFeaturesError: the file is missing or damaged although `fill` was called. It is deleted, so that the
                next `fill` encodes the image again.
            DataGoneError: the image itself is gone.
        """
        path = self.path(Picture(sample.image, variant))
        is_new = path not in self._read
        try:
            if out is None:
                features = map_file(path, check_data=is_new)
            else:
                features = read_into(path, out, check_data=is_new).features(out)
        except (OSError, DamagedFileError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            path.unlink(missing_ok=True)
            self._sound.discard(path)
            raise DamagedFeaturesError(
                f"{path}: the features of an image cannot be read ({reason}). Start again to encode the image again."
            ) from error
        self._read.add(path)
        return features

    def num_bytes(self, sample: Sample, variant: Variant = Variant.AS_IS) -> int:
        """The length that `out` of `load` must have."""
        return read_layout(self.path(Picture(sample.image, variant))).num_bytes
