"""Fills the cache: every process encodes pictures that no other process has claimed, until none is missing.

Processes (workers of a lane, lanes, searches) coordinate only through files: a picture is claimed by locking its
unfinished file; see `claim`. Each process begins at a random position, so that they rarely meet. While the device
encodes, threads read and resize the next pictures and write the previous ones. A kill at any moment leaves only
complete files.
"""

import logging
import random
import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch

from tune_sa2va.cache.about import note_wanted
from tune_sa2va.cache.claim import Claim
from tune_sa2va.cache.feature_file import write
from tune_sa2va.cache.room import check_room, features_bytes
from tune_sa2va.cache.store import FeatureCache, Picture
from tune_sa2va.data import image_size, load_image
from tune_sa2va.data.variants import laid_out
from tune_sa2va.errors import CacheError
from tune_sa2va.model.encoding import encode_batch
from tune_sa2va.model.preprocess import EncoderInputs, encoder_inputs
from tune_sa2va.model.sa2va import ImageFeatures, Sa2VA

log = logging.getLogger(__name__)

GPU_BATCH = 8
"""Pictures that a GPU encodes at once; halved if memory runs out. A CPU encodes one at a time: more are no faster."""
_READERS = 4
_WRITES_WAITING = 16
_POLL_S = 0.1


@dataclass(frozen=True, slots=True)
class FillProgress:
    """present: wanted pictures whose features are in the cache, whichever process encoded them. total: wanted pictures.

    seconds: since the start.
    """

    present: int
    total: int
    seconds: float


def fill(
    cache: FeatureCache,
    model: Sa2VA,
    wanted: Sequence[Picture],
    *,
    limit_gib: float | None = None,
    on_progress: Callable[[FillProgress], None] | None = None,
    batch_size: int | None = None,
) -> int:
    """Returns once the features of all `wanted` pictures are in the cache, with the number that this process encoded.

    limit_gib: how much all caches below the cache's root may take together; None for no limit.
    on_progress: called at the start, after each batch and at the end.
    batch_size: pictures that are encoded at once; None for the device's default.

    Raises:
        CacheError: there is not enough room within the limit or on the disk, and nothing was encoded; or a file cannot
            be written.
        DataError: an image cannot be read.
    """
    note_wanted(cache.folder, (cache.path(picture).name for picture in wanted))
    missing = cache.missing(wanted)
    if missing:
        sizes = {image: image_size(image) for image in {picture.image for picture in missing}}
        needed = features_bytes(
            model.dims, [_laid_out_size(picture, sizes) for picture in missing], cache.dtype,
            raw_high_res=cache.raw_high_res,
        )  # fmt: skip
        check_room(cache.root, needed, len(missing), limit_gib)
    worker = _Worker(cache, model, batch_size or (GPU_BATCH if model.no_mem_embed.device.type == "cuda" else 1))
    report = _Reporter(len(wanted), on_progress)
    report(len(missing))
    first = random.SystemRandom().randrange(len(missing)) if missing else 0
    missing = missing[first:] + missing[:first]
    while missing:
        before = worker.encoded
        for _ in worker.encode_unclaimed(missing):
            report(max(0, len(missing) - (worker.encoded - before)))
        missing = cache.missing(missing)
        report(len(missing))
        if missing:  # other processes are encoding them; if one was killed, the next round gets its claims
            time.sleep(_POLL_S)
    return worker.encoded


class _Worker:
    """Claims pictures, encodes them in batches of equal shapes and writes their features."""

    def __init__(self, cache: FeatureCache, model: Sa2VA, batch_size: int) -> None:
        self._cache, self._model, self._batch_size = cache, model, batch_size
        self.encoded = 0

    def encode_unclaimed(self, missing: Sequence[Picture]) -> Iterator[None]:
        """Encodes the pictures of `missing` that no other process has claimed. Yields after each batch."""
        with ExitStack() as claims, ThreadPoolExecutor(_READERS) as readers, ThreadPoolExecutor(1) as writer:
            written: deque[Future[None]] = deque()
            for batch in self._batches(missing, claims, readers):
                features = self._encode([inputs for _, inputs in batch])
                for (claim, _), each in zip(batch, features, strict=True):
                    written.append(writer.submit(self._write, claim, each))
                while len(written) > _WRITES_WAITING:
                    written.popleft().result()
                self.encoded += len(batch)
                yield
            for future in written:
                future.result()

    def _batches(
        self, missing: Sequence[Picture], claims: ExitStack, readers: ThreadPoolExecutor
    ) -> Iterator[list[tuple[Claim, EncoderInputs]]]:
        """Batches of claimed pictures of one shape each: full batches first, incomplete ones at the end."""
        open_batches: dict[torch.Size, list[tuple[Claim, EncoderInputs]]] = defaultdict(list)
        for claim, inputs in self._prepared(missing, claims, readers):
            batch = open_batches[inputs.pixel_values.shape]
            batch.append((claim, inputs))
            if len(batch) == self._batch_size:
                yield open_batches.pop(inputs.pixel_values.shape)
        yield from open_batches.values()

    def _prepared(
        self, missing: Sequence[Picture], claims: ExitStack, readers: ThreadPoolExecutor
    ) -> Iterator[tuple[Claim, EncoderInputs]]:
        """Claimed pictures with their inputs; threads read and resize some of them ahead."""
        coming: deque[tuple[Claim, Future[EncoderInputs]]] = deque()
        for picture in missing:
            claim = Claim.take(self._cache.path(picture), self._cache.is_whole)
            if claim is None:
                continue
            claims.callback(claim.release)
            coming.append((claim, readers.submit(self._prepare, picture)))
            if len(coming) > self._batch_size + _READERS:
                claim, future = coming.popleft()
                yield claim, future.result()
        for claim, future in coming:
            yield claim, future.result()

    def _prepare(self, picture: Picture) -> EncoderInputs:
        return encoder_inputs(laid_out(load_image(picture.image), picture.variant), self._model.dims)

    def _encode(self, inputs: list[EncoderInputs]) -> list[ImageFeatures]:
        """Features on the device. If memory runs out, halves the batch size from now on."""
        try:
            return encode_batch(self._model, inputs, raw_high_res=self._cache.raw_high_res)
        except torch.OutOfMemoryError:
            if len(inputs) == 1:
                raise
        torch.cuda.empty_cache()
        self._batch_size = max(1, len(inputs) // 2)
        log.warning(
            "Device memory is too small for %d pictures at once; encoding %d from now on.",
            len(inputs),
            self._batch_size,
        )
        return [
            features
            for start in range(0, len(inputs), self._batch_size)
            for features in self._encode(inputs[start : start + self._batch_size])
        ]

    def _write(self, claim: Claim, features: ImageFeatures) -> None:
        try:
            claim.publish(partial(write, features=features, dtype=self._cache.dtype))
        except OSError as error:
            raise CacheError(
                f"{self._cache.folder}: the features of an image cannot be written ({error.strerror}). "
                "Make room or set TUNE_SA2VA_CACHE to another folder; features that are there are kept."
            ) from error


class _Reporter:
    """Reports progress from numbers of missing pictures."""

    def __init__(self, total: int, on_progress: Callable[[FillProgress], None] | None) -> None:
        self._total, self._on_progress = total, on_progress
        self._started = time.monotonic()

    def __call__(self, missing: int) -> None:
        if self._on_progress is not None:
            seconds = time.monotonic() - self._started
            self._on_progress(FillProgress(self._total - missing, self._total, seconds))


def _laid_out_size(picture: Picture, sizes: Mapping[Path, tuple[int, int]]) -> tuple[int, int]:
    height, width = sizes[picture.image]
    return (width, height) if picture.variant.quarter_turns % 2 else (height, width)
