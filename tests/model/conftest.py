"""The golden folder and its model, loaded once and shared; each test leaves the model as it found it."""

from pathlib import Path

import pytest
import torch

from tune_sa2va.model.checkpoint import build_on_meta, load_model
from tune_sa2va.model.dims import Sa2VADims, read_dims
from tune_sa2va.model.locate import model_folder
from tune_sa2va.model.sa2va import Sa2VA

REFERENCE = Path(__file__).parents[3] / "shared" / "reference"


def _folder(name: str) -> Path:
    folder = REFERENCE / name
    if not folder.is_dir():
        pytest.skip(f"the reference data {name} is not on this machine")
    return folder


@pytest.fixture(scope="session")
def golden_folder() -> Path:
    return _folder("sa2va-internvl-tiny")


@pytest.fixture(scope="session")
def qwen3_vl_folder() -> Path:
    return _folder("sa2va-qwen3vl-tiny")


@pytest.fixture(scope="session")
def real_folder() -> Path:
    """A real checkpoint's index and tokenizer, without the weights."""
    return _folder("sa2va-internvl3-8b")


@pytest.fixture(scope="session")
def model(golden_folder: Path) -> Sa2VA:
    return load_model(golden_folder, device=torch.device("cpu"), dtype=torch.float32)


@pytest.fixture(scope="session")
def real_dims() -> Sa2VADims:
    return read_dims(model_folder("8b"))


@pytest.fixture(scope="session")
def real_model(real_dims: Sa2VADims) -> Sa2VA:
    """Sa2VA-InternVL3-8B without storage."""
    return build_on_meta(real_dims)
