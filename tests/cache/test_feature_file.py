"""A feature file returns what was written, as views or copies, and its damage is detected."""

import json
import zlib
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open

from tune_sa2va.cache.feature_file import (
    _NO_CRC,
    DATA_START,
    DamagedFileError,
    _header,
    map_file,
    read_into,
    read_layout,
    write,
)
from tune_sa2va.model.sa2va import ImageFeatures


def some_features(dtype: torch.dtype = torch.float32) -> ImageFeatures:
    generator = torch.Generator().manual_seed(0)
    shapes = ((6, 5), (4, 2, 2), (4, 4, 4), (4, 8, 8))
    return ImageFeatures(*(torch.randn(shape, generator=generator).to(dtype) for shape in shapes))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "image.safetensors"
    with path.open("wb") as opened:
        write(opened, some_features(), torch.float32)
    return path


def same(one: ImageFeatures, other: ImageFeatures) -> bool:
    return all(
        torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b
        for a, b in ((getattr(one, field.name), getattr(other, field.name)) for field in fields(ImageFeatures))
    )


def test_mapped_and_copied_features_are_those_written(file: Path) -> None:
    assert same(map_file(file), some_features())
    out = torch.empty(read_layout(file).num_bytes + 8, dtype=torch.uint8)
    assert same(read_into(file, out).features(out), some_features())


def test_mapped_features_lie_in_one_mapping_at_their_places_and_writing_never_reaches_the_file(file: Path) -> None:
    mapped = map_file(file)
    assert len({tensor.untyped_storage().data_ptr() for tensor in (mapped.image_tokens, mapped.high_res_0)}) == 1
    assert mapped.image_tokens.data_ptr() % DATA_START == 0
    mapped.image_tokens.zero_()
    assert same(map_file(file), some_features())


def test_a_mapping_outlives_its_file(file: Path) -> None:
    mapped = map_file(file)
    file.unlink()
    assert same(mapped, some_features())


def test_any_safetensors_reader_opens_it(file: Path) -> None:
    with safe_open(file, framework="np") as opened:
        np.testing.assert_array_equal(opened.get_tensor("embed"), some_features().embed.numpy())


def test_features_are_stored_in_the_caches_dtype(tmp_path: Path) -> None:
    path = tmp_path / "image.safetensors"
    with path.open("wb") as opened:
        write(opened, some_features(), torch.bfloat16)
    assert same(map_file(path), some_features(torch.bfloat16))


def test_every_flipped_bit_of_the_header_is_noticed(file: Path) -> None:
    whole = file.read_bytes()
    end = len(whole[:DATA_START].rstrip())
    # One flipped bit in each byte of the text and in some of the padding, each of the eight bits in turn.
    for place in (*range(end), *range(end, DATA_START, 97)):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << place % 8
        file.write_bytes(damaged)
        with pytest.raises(DamagedFileError):
            read_layout(file)


def test_a_flipped_bit_of_the_tensors_is_noticed_by_who_asks(file: Path) -> None:
    whole, out = file.read_bytes(), torch.empty(10_000, dtype=torch.uint8)
    for place in (DATA_START, DATA_START + 1001, len(whole) - 1):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << place % 8
        file.write_bytes(damaged)
        for read in (map_file, lambda path: read_into(path, out)):
            with pytest.raises(DamagedFileError, match="changed"):
                read(file)
        map_file(file, check_data=False)


def test_a_file_without_a_checksum_of_its_tensors_is_read(file: Path) -> None:
    """Files of an older tune_sa2va have no checksum of the data."""
    layout = read_layout(file)
    text = json.loads(_header(layout, 0)[8:])
    del text["__metadata__"]["data_crc32"]
    text["__metadata__"]["crc32"] = _NO_CRC
    blank = json.dumps(text, separators=(",", ":")).encode().ljust(DATA_START - 8)
    crc = f"{zlib.crc32(blank):08x}".encode()
    file.write_bytes(file.read_bytes()[:8] + blank.replace(_NO_CRC.encode(), crc, 1) + file.read_bytes()[DATA_START:])
    assert read_layout(file).data_crc32 is None
    assert same(map_file(file), some_features())


@pytest.mark.parametrize("length", [0, 7, 100, DATA_START, DATA_START + 10, -1])
def test_a_file_cut_short_is_noticed(file: Path, length: int) -> None:
    file.write_bytes(file.read_bytes()[:length])
    for read in (read_layout, map_file, lambda path: read_into(path, torch.empty(10_000, dtype=torch.uint8))):
        with pytest.raises(DamagedFileError):
            read(file)


def test_a_buffer_that_is_too_short_is_refused(file: Path) -> None:
    with pytest.raises(ValueError, match="or more, got 3"):
        read_into(file, torch.empty(3, dtype=torch.uint8))
