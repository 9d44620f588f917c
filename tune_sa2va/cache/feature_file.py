"""One image's features as a safetensors file, with a header of fixed length and checksums against damage.

    8 bytes       length of the header, 4088, little-endian
    4088 bytes    JSON, padded with spaces: dtype, shape and position of each tensor; its metadata has the fields that
                  are not tensors, as JSON, a CRC-32 of the tensors, and one of this header itself
    from 4096 on  the tensors one after the other

Any safetensors library can read it. The data begin at a page boundary, so a file can be mapped into memory with each
tensor as a view: processes on one node share the pages, and a CPU computes on them without a copy. Tensors are aligned
at least to their element size; those of the published models to 4 KiB.
"""

import dataclasses
import json
import os
import zlib
from collections.abc import Mapping
from math import prod
from pathlib import Path
from typing import Any, BinaryIO, cast

import torch
from torch import Tensor

from tune_sa2va.model.sa2va import ImageFeatures

DATA_START = 4096
_LENGTH_BYTES = 8
_NO_CRC = "00000000"
_DTYPES = {"F32": torch.float32, "BF16": torch.bfloat16, "F16": torch.float16}
_DTYPE_NAMES = {dtype: name for name, dtype in _DTYPES.items()}


class DamagedFileError(Exception):
    """The file is damaged: truncated, or its header or data were changed."""


@dataclasses.dataclass(frozen=True, slots=True)
class TensorPlace:
    """The position of a tensor: bytes `start` to `stop` - 1 after DATA_START."""

    dtype: torch.dtype
    shape: tuple[int, ...]
    start: int
    stop: int


@dataclasses.dataclass(frozen=True, slots=True)
class Layout:
    """The content of the header.

    places: position of each tensor. values: fields that are not tensors (tuples are restored); fields with None are not
        stored.
    data_crc32: CRC-32 of the tensors' bytes; None if an older tune_sa2va wrote the file.
    """

    places: Mapping[str, TensorPlace]
    values: Mapping[str, Any]
    data_crc32: int | None = None

    @property
    def num_bytes(self) -> int:
        """Size of all tensors together."""
        return max((place.stop for place in self.places.values()), default=0)

    def features(self, data: Tensor) -> ImageFeatures:
        """The features as views into `data`, the file's bytes from DATA_START on: (num_bytes or more,) uint8.

        `data` may be on any device, and the features are on the same one.
        """
        fields: dict[str, Any] = {
            name: data[place.start : place.stop].view(place.dtype).view(place.shape)
            for name, place in self.places.items()
        }
        return ImageFeatures(**fields, **self.values)


def layout_of(features: ImageFeatures, dtype: torch.dtype) -> Layout:
    """The layout of a file that stores `features` in `dtype`, without checksum. Meta tensors are enough."""
    places: dict[str, TensorPlace] = {}
    start = 0
    for name, tensor in _tensors(features).items():
        stop = start + tensor.numel() * dtype.itemsize
        places[name] = TensorPlace(dtype, tuple(tensor.shape), start, stop)
        start = stop
    values = {name: value for name, value in _fields(features).items() if not isinstance(value, Tensor)}
    return Layout(places, values)


def write(file: BinaryIO, features: ImageFeatures, dtype: torch.dtype) -> None:
    """Writes features in `dtype` into an empty file."""
    stored = [
        tensor.to("cpu", dtype).contiguous().view(-1).view(torch.uint8).numpy().data
        for tensor in _tensors(features).values()
    ]
    crc = 0
    for data in stored:
        crc = zlib.crc32(data, crc)
    file.write(_header(layout_of(features, dtype), crc))
    for data in stored:
        file.write(data)


def read_layout(path: Path) -> Layout:
    """The header of a file, whose length must match it.

    Raises:
        FileNotFoundError: no such file.
        DamagedFileError: the file is truncated, or its header was changed.
    """
    with path.open("rb") as file:
        return _checked_layout(file.read(DATA_START), os.fstat(file.fileno()).st_size)


def map_file(path: Path, *, check_data: bool = True) -> ImageFeatures:
    """The features as views into the file, mapped copy-on-write: pages are read on use, and writes do not reach it.

    check_data: read all data now and compare them with their checksum.

    Raises:
        FileNotFoundError: no such file.
        DamagedFileError: the file is truncated or was changed.
    """
    layout = read_layout(path)
    # A mapping keeps its file even if that is replaced or removed, so data do not change under a running trial.
    mapped = torch.UntypedStorage.from_file(str(path), shared=False, nbytes=DATA_START + layout.num_bytes)
    storage = cast(torch.UntypedStorage, mapped)
    data = torch.empty(0, dtype=torch.uint8).set_(storage)[DATA_START:]
    if check_data:
        _check_data(data.numpy().data, layout)
    return layout.features(data)


def read_into(path: Path, out: Tensor, *, check_data: bool = True) -> Layout:
    """Copies the file's tensors into `out`, a CPU tensor of (num_bytes or more,) uint8. Pin it to copy it to a GPU.

    check_data: compare the data with their checksum.

    Raises:
        FileNotFoundError: no such file.
        DamagedFileError: the file is truncated or was changed.
        ValueError: `out` is too short.
    """
    with path.open("rb", buffering=0) as file:
        layout = _checked_layout(file.read(DATA_START), os.fstat(file.fileno()).st_size)
        if out.numel() < layout.num_bytes:
            raise ValueError(f"out must have {layout.num_bytes} bytes or more, got {out.numel()}")
        view = out.numpy().data[: layout.num_bytes]
        done = 0
        while done < layout.num_bytes:
            read = file.readinto(view[done:])
            if not read:
                raise DamagedFileError(f"{path.name}: ended while being read")
            done += read
    if check_data:
        _check_data(view, layout)
    return layout


def _check_data(data: memoryview, layout: Layout) -> None:
    if layout.data_crc32 is not None and zlib.crc32(data) != layout.data_crc32:
        raise DamagedFileError("its data were changed")


def _fields(features: ImageFeatures) -> dict[str, Any]:
    found = {field.name: getattr(features, field.name) for field in dataclasses.fields(features)}
    return {name: value for name, value in found.items() if value is not None}


def _tensors(features: ImageFeatures) -> dict[str, Tensor]:
    return {name: value for name, value in _fields(features).items() if isinstance(value, Tensor)}


def _header(layout: Layout, data_crc32: int) -> bytes:
    metadata = {"format": "pt", "crc32": _NO_CRC, "data_crc32": str(data_crc32), "values": json.dumps(layout.values)}
    entries: dict[str, Any] = {"__metadata__": metadata}
    for name, place in layout.places.items():
        entries[name] = {
            "dtype": _DTYPE_NAMES[place.dtype],
            "shape": list(place.shape),
            "data_offsets": [place.start, place.stop],
        }
    text = json.dumps(entries, separators=(",", ":")).encode().ljust(DATA_START - _LENGTH_BYTES)
    assert len(text) == DATA_START - _LENGTH_BYTES, "the header needs more room"
    crc = f"{zlib.crc32(text):08x}"
    text = text.replace(_crc_entry(_NO_CRC), _crc_entry(crc), 1)
    return len(text).to_bytes(_LENGTH_BYTES, "little") + text


def _checked_layout(header: bytes, file_bytes: int) -> Layout:
    text = header[_LENGTH_BYTES:]
    if len(header) < DATA_START or header[:_LENGTH_BYTES] != len(text).to_bytes(_LENGTH_BYTES, "little"):
        raise DamagedFileError("the header is incomplete")
    try:
        entries = json.loads(text)
        metadata = entries.pop("__metadata__")
        crc = metadata["crc32"]
        blank = text.replace(_crc_entry(crc), _crc_entry(_NO_CRC), 1)
        if f"{zlib.crc32(blank):08x}" != crc:
            raise DamagedFileError("the header was changed")
        values = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in json.loads(metadata["values"]).items()
        }
        data_crc32 = int(metadata["data_crc32"]) if "data_crc32" in metadata else None
        layout = Layout({name: _place(entry) for name, entry in entries.items()}, values, data_crc32)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DamagedFileError("the header was changed") from error
    if file_bytes != DATA_START + layout.num_bytes:
        raise DamagedFileError(f"has {file_bytes} bytes, wanted {DATA_START + layout.num_bytes}")
    return layout


def _place(entry: Mapping[str, Any]) -> TensorPlace:
    place = TensorPlace(_DTYPES[entry["dtype"]], tuple(entry["shape"]), *entry["data_offsets"])
    if prod(place.shape) * place.dtype.itemsize != place.stop - place.start:
        raise ValueError("shape and place differ")
    return place


def _crc_entry(crc: str) -> bytes:
    return f'"crc32":"{crc}"'.encode()
