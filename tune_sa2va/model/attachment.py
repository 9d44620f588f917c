"""Puts the adapters of a store into a model in place of its own modules, and takes them out again.

Detaching puts the original modules and parameters back. So the base is the same bit for bit, no copy of it is needed,
and it works after any error.
"""

from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from tune_sa2va.model.adapter_store import AdapterStore
from tune_sa2va.model.lora_linear import LoraLinear
from tune_sa2va.model.sa2va import Sa2VA
from tune_sa2va.model.seats import SeatedModule
from tune_sa2va.model.targets import NATIVE_FULL_MODULES, Target

_ENCODERS = ("vision_model.", "mlp1.", "sam_vision.")

PEFT_PREFIX = "base_model.model."
"""PEFT's prefix of every name in adapter_model.safetensors."""


class Attachment:
    """The adapters of one store, attached to `model` until the last of the trials that use them has left.

    initial: by their names in the store, the base's values of the parameters that are trained in full.
    """

    def __init__(
        self,
        model: Sa2VA,
        store: AdapterStore,
        targets: Sequence[Target],
        in_encoders: Sequence[Target],
        full: Mapping[str, str],
    ) -> None:
        """Attaches the adapters for one user.

        full: native name -> name in the store, for every parameter that is trained in full.
        """
        self._model, self._users = model, 1
        self.initial: dict[str, Tensor] = {store_name: model.get_parameter(name) for name, store_name in full.items()}
        names = [target.native for target in (*targets, *in_encoders)]
        roots = [name for name in NATIVE_FULL_MODULES.values() if any(one.startswith(f"{name}.") for one in full)]
        self._before: dict[str, nn.Module | nn.Parameter] = {name: model.get_submodule(name) for name in names}
        if store.seats == 1:
            self._before |= {name: model.get_parameter(name) for name in full}
        else:
            self._before |= {name: model.get_submodule(name) for name in roots}
        try:
            for place, target in enumerate((*targets, *in_encoders)):
                base, name = self._before[target.native], PEFT_PREFIX + target.reference
                assert isinstance(base, nn.Linear), f"{target.native} is not linear"
                a, b = (store.leaves[f"{name}.lora_{part}.weight"] for part in "AB")
                inside = place >= len(targets)
                adapted = LoraLinear(base, a, b, store, place=place, in_encoder=inside, third=target.third)
                _set(model, target.native, adapted.eval())
            if store.seats == 1:
                for name, store_name in full.items():
                    _set(model, name, store.leaves[store_name])
            else:
                for root in roots:
                    own = {
                        name.removeprefix(f"{root}."): store.leaves[store_name]
                        for name, store_name in full.items()
                        if name.startswith(f"{root}.")
                    }
                    _set(model, root, SeatedModule(model.get_submodule(root), own, model.no_mem_embed.dtype).eval())
        except BaseException:  # also if memory runs out: the next trial must be able to use the base
            self._detach()
            raise

    @property
    def changes_encoders(self) -> bool:
        """Whether the adapters change an image encoder, so that the base's features cannot be used."""
        return any(f"{name}.".startswith(_ENCODERS) for name in self._before)

    def join(self) -> "Attachment":
        """Counts one more user. Returns the attachment."""
        assert self._users, "it is attached"
        self._users += 1
        return self

    def leave(self) -> None:
        """Counts one user less. After the last one the base is exactly as it was."""
        self._users -= 1
        if not self._users:
            self._detach()

    def _detach(self) -> None:
        for name, original in self._before.items():
            _set(self._model, name, original)
        self._before, self.initial = {}, {}


def _set(model: nn.Module, name: str, value: nn.Module | nn.Parameter) -> None:
    owner, _, leaf = name.rpartition(".")
    setattr(model.get_submodule(owner), leaf, value)
