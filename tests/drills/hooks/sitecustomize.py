"""Put on PYTHONPATH by a drill: breaks the trials that the variable DRILL names, inside the real workers."""

import importlib.util
import os
import sys
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

_BROKEN = "tune_sa2va.train.workbench"


def _breaks(drill: str, config: Any) -> Exception | None:
    if drill == "always broken":
        return RuntimeError("the drill broke this step")
    import torch

    if config.lora.r == 64 or config.train.micro_batch_size > 1:
        return torch.OutOfMemoryError("the drill has no memory for this")
    return None


def _break(module: ModuleType, drill: str) -> None:
    whole = module.Trial.begin_epoch

    def begin_epoch(trial: Any) -> Any:
        if (error := _breaks(drill, trial.config)) is not None:
            raise error
        return whole(trial)

    module.Trial.begin_epoch = begin_epoch


class _AfterImport:
    """Finds the module as usual and breaks it once it is loaded."""

    def find_spec(self, name: str, path: Any, target: Any = None) -> ModuleSpec | None:
        if name != _BROKEN:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        assert spec is not None and spec.loader is not None
        load = spec.loader.exec_module

        def load_and_break(module: ModuleType) -> None:
            load(module)
            _break(module, os.environ["DRILL"])

        spec.loader.exec_module = load_and_break  # type: ignore[method-assign]
        return spec


if "DRILL" in os.environ:
    sys.meta_path.insert(0, _AfterImport())
