"""Adapters are attached by the reference's names and detached without a trace."""

import copy
import gc
from collections.abc import Iterator

import pytest
import torch
from peft import LoraConfig, inject_adapter_in_model
from torch import Tensor, nn

from tune_sa2va.config import FullModule, LoraSettings
from tune_sa2va.errors import UserError
from tune_sa2va.model import lora as lora_module
from tune_sa2va.model.adapter_store import AdapterStore, Slot
from tune_sa2va.model.checkpoint import load_model
from tune_sa2va.model.lora import TrialAdapters, make_store
from tune_sa2va.model.lora_linear import LoraLinear
from tune_sa2va.model.sa2va import Sa2VA
from tune_sa2va.model.targets import matches, memory_attention_shapes

BOTH: tuple[FullModule, ...] = ("text_hidden_fcs", "mask_decoder")
Q_PROJ = "language_model.model.layers.0.self_attn.q_proj"


@pytest.fixture(scope="module")
def half_model(golden_folder) -> Sa2VA:
    return load_model(golden_folder, device=torch.device("cpu"), dtype=torch.bfloat16)


@pytest.fixture
def attach(model: Sa2VA) -> Iterator:
    """Attaches adapters to the shared model and detaches them after the test in any case."""
    attached: list[TrialAdapters] = []

    def attach_once(settings: LoraSettings, *full: FullModule, seed: int = 0) -> TrialAdapters:
        attached.append(TrialAdapters(model, settings, full, seed=seed))
        return attached[-1]

    yield attach_once
    for adapters in reversed(attached):
        adapters.detach()


def snapshot(model: Sa2VA) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def assert_untouched(model: Sa2VA, before: dict[str, Tensor], modules: list[str]) -> None:
    after = model.state_dict()
    assert list(after) == list(before)
    assert all(after[name].dtype == before[name].dtype for name in before)
    assert [name for name in before if not torch.equal(after[name], before[name])] == []
    assert [name for name, _ in model.named_modules()] == modules
    assert not any(parameter.requires_grad for parameter in model.parameters())
    assert not any(module.training for module in model.modules())
    assert not hasattr(model, "peft_config")


def masks(model: Sa2VA) -> Tensor:
    """Mask logits of fixed random features: a short path through every module that a trial trains."""
    generator = torch.Generator().manual_seed(0)
    sam2, side = model.dims.sam2, model.dims.sam2.embed_side
    width = model.dims.language_model.hidden_size
    hidden = model.hidden_states(torch.randn(1, 6, width, generator=generator))
    seg = model.seg_embeddings(hidden, torch.tensor([4]))
    embed, high_res_1, high_res_0 = (
        torch.randn(1, sam2.d, scale * side, scale * side, generator=generator) for scale in (1, 2, 4)
    )
    return model.decode_masks(embed, high_res_1, high_res_0, seg).mask_logits


@pytest.mark.parametrize("base", ["model", "half_model"])
def test_detach_gives_the_base_back_bit_for_bit(base: str, request: pytest.FixtureRequest) -> None:
    model: Sa2VA = request.getfixturevalue(base)
    before, modules = snapshot(model), [name for name, _ in model.named_modules()]
    adapters = TrialAdapters(model, LoraSettings(r=4, dropout=0.1), BOTH, seed=0)
    assert {parameter.dtype for parameter in adapters.parameters.values()} == {torch.float32}
    adapters.train(True)
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=base == "half_model"):
        loss = masks(model).float().square().mean()
    loss.backward()
    torch.optim.AdamW(adapters.store.leaves.values(), lr=1.0).step()
    changed = [name for name, tensor in model.state_dict().items() if name in before and tensor.ne(before[name]).any()]
    assert {name.split(".")[0] for name in changed} == {"text_hidden_fcs", "sam_mask_decoder"}
    adapters.detach()
    adapters.detach()  # a second call does nothing
    assert_untouched(model, before, modules)


def test_attaching_changes_no_output(model: Sa2VA, attach) -> None:
    with torch.no_grad():
        before = masks(model)
        attach(LoraSettings(r=4), "text_hidden_fcs")
        assert torch.equal(masks(model), before)


def test_every_adapter_gets_a_gradient_and_the_base_gets_none(model: Sa2VA, attach) -> None:
    adapters = attach(LoraSettings(r=4), "text_hidden_fcs")
    with torch.no_grad():
        for name, parameter in adapters.parameters.items():
            if name.endswith("lora_B.weight"):  # with B at zero, A has no gradient
                parameter.fill_(0.01)
    masks(model).square().mean().backward()
    assert [name for name, parameter in adapters.parameters.items() if not parameter.grad.any()] == []
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    assert {id(parameter) for parameter in trainable} == {id(parameter) for parameter in adapters.parameters.values()}


def test_a_depends_on_seed_and_name_alone(model: Sa2VA, attach) -> None:
    def initial(settings: LoraSettings, seed: int) -> dict[str, Tensor]:
        adapters = attach(settings, seed=seed)
        values = {name: parameter.detach().clone() for name, parameter in adapters.parameters.items()}
        adapters.detach()
        return values

    torch.manual_seed(1)
    rng = torch.get_rng_state()
    first = initial(LoraSettings(r=4), seed=7)
    assert torch.equal(torch.get_rng_state(), rng)
    torch.manual_seed(2)
    alone = initial(LoraSettings(r=4, target_modules=("q_proj",)), seed=7)
    assert all(torch.equal(first[name], value) for name, value in alone.items())
    name = f"base_model.model.{Q_PROJ}.lora_A.weight"
    other = initial(LoraSettings(r=4), seed=8)
    assert not torch.equal(first[name], other[name])
    # PEFT's kaiming_uniform_(a=sqrt(5)) is uniform within 1 / sqrt(in_features).
    bound = model.dims.language_model.hidden_size**-0.5
    assert 0.9 * bound < first[name].abs().max() <= bound
    b_values = [value for name, value in first.items() if name.endswith("lora_B.weight")]
    assert not torch.cat([value.flatten() for value in b_values]).any()


def test_modules_start_with_other_numbers(model: Sa2VA, attach) -> None:
    found = attach(LoraSettings(r=4)).parameters
    starts = [value[0, :8].tolist() for name, value in found.items() if name.endswith("lora_A.weight")]
    assert len({tuple(start) for start in starts}) == len(starts)


@pytest.mark.parametrize(("use_rslora", "scale"), [(False, 2 * 16 / 16), (True, 2 * 16 / 4)])
def test_scale(model: Sa2VA, attach, use_rslora: bool, scale: float) -> None:
    adapters = attach(LoraSettings(r=16, alpha_over_r=2.0, use_rslora=use_rslora))
    a, b = (adapters.parameters[f"base_model.model.{Q_PROJ}.lora_{part}.weight"] for part in "AB")
    x = torch.randn(3, a.shape[1])
    layer = model.get_submodule(Q_PROJ)
    with torch.no_grad():
        b.fill_(0.1)
        update = layer(x) - layer.base_layer(x)
        torch.testing.assert_close(update, scale * x @ a.T @ b.T, rtol=1e-4, atol=1e-4)


def test_dropout_acts_only_in_training(model: Sa2VA, attach) -> None:
    adapters = attach(LoraSettings(r=4, dropout=0.5), "text_hidden_fcs")
    before = {name for name, module in model.named_modules() if module.training}
    with torch.no_grad():
        for parameter in adapters.parameters.values():
            parameter.add_(0.01)
        still = masks(model)
        assert torch.equal(masks(model), still)
        adapters.train(True)
        assert not torch.equal(masks(model), still)
        switched = {name for name, module in model.named_modules() if module.training} - before
        assert not switched
        adapters.train(False)
        assert torch.equal(masks(model), still)


def test_ten_ranks_leave_nothing_behind(model: Sa2VA) -> None:
    before, modules = snapshot(model), [name for name, _ in model.named_modules()]
    for rank in range(1, 11):
        adapters = TrialAdapters(model, LoraSettings(r=rank), BOTH, seed=rank)
        assert adapters.parameters[f"base_model.model.{Q_PROJ}.lora_A.weight"].shape[0] == rank
        adapters.detach()
    del adapters
    gc.collect()
    assert not [item for item in gc.get_objects() if issubclass(type(item), LoraLinear)]
    assert_untouched(model, before, modules)


def test_an_error_while_attaching_leaves_the_base_whole(model: Sa2VA, monkeypatch: pytest.MonkeyPatch) -> None:
    before, modules = snapshot(model), [name for name, _ in model.named_modules()]
    calls = 0

    def run_out(*_args, **_settings) -> Tensor:
        nonlocal calls
        calls += 1
        if calls == 5:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return torch.zeros(4, 96)

    monkeypatch.setattr(lora_module, "initial_a", run_out)
    with pytest.raises(torch.OutOfMemoryError):
        TrialAdapters(model, LoraSettings(r=4), BOTH, seed=0)
    assert_untouched(model, before, modules)


def test_a_bad_target_leaves_the_base_whole(model: Sa2VA) -> None:
    before, modules = snapshot(model), [name for name, _ in model.named_modules()]
    with pytest.raises(UserError):
        TrialAdapters(model, LoraSettings(target_modules=("qkv",)), BOTH, seed=0)
    assert_untouched(model, before, modules)


def test_names_of_fully_trained_modules_are_the_references(model: Sa2VA, attach) -> None:
    names = {name.removeprefix("base_model.model.") for name in attach(LoraSettings(r=1), *BOTH).parameters}
    decoder = "grounding_encoder.sam2_model.sam_mask_decoder."
    for name in ("text_hidden_fcs.2.bias", *(decoder + leaf for leaf in ("conv_s0.weight", "conv_s1.bias"))):
        assert name in names
    assert f"{decoder}output_upscaling.0.weight" in names
    assert f"{decoder}transformer.layers.0.self_attn.out_proj.weight" in names
    assert not [name for name in names if name.startswith(decoder) and "lora" in name]


def test_counts_of_the_recipe_on_8b(real_model: Sa2VA) -> None:
    recipe = LoraSettings()
    adapters = TrialAdapters(real_model, recipe, (), seed=0)
    counts = {name.removeprefix("base_model.model."): p.numel() for name, p in adapters.parameters.items()}
    adapters.detach()
    llm = [count for name, count in counts.items() if name.startswith("language_model.")]
    decoder = [count for name, count in counts.items() if "sam_mask_decoder" in name]
    assert (len(llm), sum(llm)) == (2 * 112, 40_370_176)
    assert (len(decoder), sum(decoder)) == (2 * 21, 565_248)
    assert sum(counts.values()) == 40_935_424
    memory = [
        recipe.r * sum(shape)
        for name, shape in memory_attention_shapes(real_model.dims.sam2).items()
        if any(matches(name, pattern) for pattern in recipe.target_modules)
    ]
    assert (len(memory), sum(memory)) == (24, 688_128)


@pytest.mark.parametrize("use_rslora", [False, True])
def test_the_layer_is_pefts(use_rslora: bool) -> None:
    """Output and gradients equal PEFT's, in fp32."""
    generator = torch.Generator().manual_seed(0)
    mine = nn.Sequential(nn.Linear(24, 40), nn.ReLU(), nn.Linear(40, 8))
    theirs = copy.deepcopy(mine)
    config = LoraConfig(r=6, lora_alpha=9, use_rslora=use_rslora, target_modules=["0", "2"])
    inject_adapter_in_model(config, theirs)
    pairs: list[tuple[nn.Parameter, nn.Parameter]] = []
    for index in (0, 2):
        layer, base = theirs[index], mine[index]
        assert isinstance(base, nn.Linear)
        slots = [Slot("a", (6, base.in_features), low=True), Slot("b", (base.out_features, 6), low=True)]
        store = AdapterStore(slots, 6, device=torch.device("cpu"), dtype=torch.float32)
        store.scale.fill_(9 / (6**0.5 if use_rslora else 6))
        a, b = store.leaves["a"], store.leaves["b"]
        with torch.no_grad():
            for own, other in ((a, layer.lora_A["default"].weight), (b, layer.lora_B["default"].weight)):
                own.copy_(torch.randn(own.shape, generator=generator) / 6)
                other.copy_(own)
                pairs.append((own, other))
        mine[index] = LoraLinear(base, a, b, store)
    x = torch.randn(5, 24, generator=generator)
    torch.testing.assert_close(mine(x), theirs(x), rtol=1e-5, atol=1e-5)
    mine(x).square().sum().backward()
    theirs(x).square().sum().backward()
    for own, other in pairs:
        torch.testing.assert_close(own.grad, other.grad, rtol=1e-5, atol=1e-5)


def test_a_padded_adapter_computes_what_an_unpadded_one_does(model: Sa2VA, attach) -> None:
    settings = LoraSettings(r=3, target_modules=("q_proj", "o_proj"))
    outputs, gradients = [], []
    for rank in (3, 16):
        adapters = TrialAdapters(model, settings, (), seed=5, store=make_store(model, settings, (), rank=rank))
        generator = torch.Generator().manual_seed(1)
        with torch.no_grad():
            for value in adapters.parameters.values():
                value.add_(torch.randn(value.shape, generator=generator), alpha=0.05)
        output = masks(model)
        found = torch.autograd.grad(output.square().mean(), list(adapters.store.leaves.values()))
        if rank == 16:
            for slot, gradient in zip(adapters.store.slots, found, strict=True):
                assert not gradient.narrow(slot.rank_dim, 3, 13).any(), slot.name
        gradients.append([g.narrow(s.rank_dim, 0, 3) for s, g in zip(adapters.store.slots, found, strict=True)])
        outputs.append(output.detach())
        adapters.detach()
    torch.testing.assert_close(outputs[0], outputs[1], rtol=1e-5, atol=1e-5)
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)
