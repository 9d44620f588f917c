"""What a trial trains, on top of a frozen base: LoRA layers through PEFT, and whole modules where asked.

The base is given back by putting the original modules and parameters in their places, so it is the same bit for bit,
costs no copy, and works after any error.
"""

import hashlib
import math

import torch
from peft import LoraConfig, inject_adapter_in_model
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn

from tune_sa2va.config import FullModule, LoraSettings
from tune_sa2va.model.keymap import source_of
from tune_sa2va.model.sa2va import Sa2VA
from tune_sa2va.model.targets import NATIVE_FULL_MODULES, Target, find_targets

_ADAPTER = "default"
PEFT_PREFIX = "base_model.model."
"""PEFT puts it before every name in adapter_model.safetensors."""


class TrialAdapters:
    """One trial's trainable parameters, attached to `model` until `detach`.

    parameters: everything trainable, by its name in the reference's adapter_model.safetensors; fp32 on any base.

    On a bf16 base fully trained modules are held in fp32 too, so run them under autocast (or cast their inputs).
    Nothing here depends on the training mode of the model: it stays in eval mode, and `train` switches the adapters'
    dropout alone. Dropout is off at first.
    """

    def __init__(self, model: Sa2VA, lora: LoraSettings, full_modules: tuple[FullModule, ...], *, seed: int) -> None:
        """Attach. A depends on `seed` and the module's name alone, B is zero: the model computes as before.

        Raises:
            UserError: `lora.target_modules` names what cannot be trained (see `find_targets`).
        """
        targets = find_targets(model, lora.target_modules, full_modules)
        self.parameters: dict[str, nn.Parameter] = {}
        self._model = model
        self._base_modules = {target.native: model.get_submodule(target.native) for target in targets}
        self._base_parameters: dict[str, nn.Parameter] = {}
        try:
            self._attach_lora(targets, lora, seed)
            self._attach_full(full_modules)
        except BaseException:  # out of memory too: the base must be usable by the next trial
            self.detach()
            raise
        self.train(False)

    def train(self, mode: bool) -> None:
        """Switch the adapters' dropout on or off, and nothing else."""
        for name in self._base_modules:
            self._lora_layer(name).lora_dropout.train(mode)

    def detach(self) -> None:
        """Give the base back exactly as it was. May be called again."""
        for name, module in self._base_modules.items():
            _set(self._model, name, module)
        for name, parameter in self._base_parameters.items():
            _set(self._model, name, parameter)
        self._base_modules, self._base_parameters, self.parameters = {}, {}, {}
        self._model.__dict__.pop("peft_config", None)  # where PEFT leaves its configuration

    def _attach_lora(self, targets: list[Target], lora: LoraSettings, seed: int) -> None:
        config = LoraConfig(
            r=lora.r,
            lora_alpha=lora.lora_alpha,
            lora_dropout=lora.dropout,
            use_rslora=lora.use_rslora,
            target_modules=[target.native for target in targets],
        )
        # On the meta device: PEFT would draw from the global RNG, and round A to the base's bf16 before widening it.
        inject_adapter_in_model(config, self._model, adapter_name=_ADAPTER, low_cpu_mem_usage=True)
        for target in targets:
            layer = self._lora_layer(target.native)
            device = layer.get_base_layer().weight.device
            a = initial_a(target.reference, lora.r, layer.in_features, seed=seed).to(device)
            b = torch.zeros(layer.out_features, lora.r, device=device)
            for matrices, name, value in ((layer.lora_A, "lora_A", a), (layer.lora_B, "lora_B", b)):
                matrices[_ADAPTER].weight = nn.Parameter(value)
                self.parameters[f"{PEFT_PREFIX}{target.reference}.{name}.weight"] = matrices[_ADAPTER].weight

    def _attach_full(self, full_modules: tuple[FullModule, ...]) -> None:
        for module in full_modules:
            prefix = NATIVE_FULL_MODULES[module]
            for leaf, original in list(self._model.get_submodule(prefix).named_parameters()):
                name = f"{prefix}.{leaf}"
                trained = nn.Parameter(original.detach().to(torch.float32, copy=True))
                self._base_parameters[name] = original
                _set(self._model, name, trained)
                self.parameters[PEFT_PREFIX + source_of(name, self._model.dims.family).keys[0]] = trained

    def _lora_layer(self, name: str) -> LoraLayer:
        layer = self._model.get_submodule(name)
        assert isinstance(layer, LoraLayer), f"{name} has no adapter"
        return layer


def initial_a(reference: str, r: int, in_features: int, *, seed: int) -> Tensor:
    """PEFT's initial A of one module, (r, in_features) fp32 on the CPU; the same whatever else has adapters."""
    digest = hashlib.sha256(f"{seed} {reference}".encode()).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(digest[:8], "little"))
    # nn.Linear's own: kaiming_uniform_ with a = sqrt(5).
    bound = 1 / math.sqrt(in_features)
    return torch.empty(r, in_features).uniform_(-bound, bound, generator=generator)


def _set(model: nn.Module, name: str, value: nn.Module | nn.Parameter) -> None:
    owner, _, leaf = name.rpartition(".")
    setattr(model.get_submodule(owner), leaf, value)
