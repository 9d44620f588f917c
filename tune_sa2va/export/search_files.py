"""What an export needs to know of its search, from `search.yaml` and `environment.json` of the results folder."""

from pathlib import Path
from typing import TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from tune_sa2va.config import DataSettings, ModelSettings
from tune_sa2va.errors import ResultsError
from tune_sa2va.evaluate.tuned import BaseModelName


class _Part(BaseModel):
    """Some fields of a file; the others are left to who needs them."""

    model_config = ConfigDict(frozen=True, extra="ignore")


_AnyPart = TypeVar("_AnyPart", bound=_Part)


class Searched(_Part):
    """How the search computes, from `search.yaml`."""

    model: ModelSettings
    data: DataSettings
    gpus: int
    cpus_per_worker: int
    feature_cache: Path
    raw_high_res: bool
    confirm: int = 0


class Environment(_Part):
    """What the search ran on, from `environment.json`."""

    base_model: BaseModelName
    data_fingerprint: str


def read_searched(run: Path) -> Searched:
    """Of the search in `run`.

    Raises:
        UserError: the file cannot be read, or is not one of ours.
    """
    return _read(run / "search.yaml", Searched)


def read_environment(run: Path) -> Environment:
    """Of the search in `run`.

    Raises:
        UserError: as `read_searched`.
    """
    return _read(run / "environment.json", Environment)  # JSON is YAML


def _read(path: Path, part: type[_AnyPart]) -> _AnyPart:
    try:
        return part.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except ValidationError as error:
        first = error.errors()[0]
        reason = f"{'.'.join(str(place) for place in first['loc'])}: {first['msg']}"
    except (OSError, UnicodeDecodeError, yaml.YAMLError, RecursionError) as error:
        reason = " ".join(str(error).split())
    raise ResultsError(
        f"{path}: cannot be read as a search's ({reason}). Put back a copy of it, or start a new search."
    )
