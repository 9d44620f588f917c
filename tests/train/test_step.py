"""A batch's losses and counts are those of its images, whatever the padding and the micro-batches."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch

from tune_sa2va.config import RECIPE
from tune_sa2va.errors import NonFiniteError
from tune_sa2va.evaluate.batch import Collator, batch_counts
from tune_sa2va.evaluate.predict import Example
from tune_sa2va.model.lora import TrialAdapters
from tune_sa2va.train.graphs import Graphs
from tune_sa2va.train.step import Stepper
from tune_sa2va.train.workbench import Workbench

CONFIG = RECIPE.replace({"lora.r": 4, "loss.lm": 0.5, "train.full_modules": ["mask_decoder"]})


@pytest.fixture
def stepper(bench: Workbench) -> Iterator[Stepper]:
    """A stepper before its first step, with adapters that change the output (B is not 0)."""
    stepper = bench.engine.stepper(CONFIG)
    adapters = TrialAdapters(bench.model, CONFIG.lora, CONFIG.train.full_modules, seed=0, store=stepper.store)
    stepper.reset(CONFIG.loss, CONFIG.optimizer)
    with torch.no_grad():
        for name, value in adapters.parameters.items():
            if "lora_B" in name:
                value.fill_(0.01)
    stepper.store.refresh()
    yield stepper
    adapters.detach()


@pytest.fixture(scope="module")
def examples(bench: Workbench) -> list[Example]:
    """Two images whose truths have different sizes."""
    first, second = bench.train.on_cpu(0), bench.train.on_cpu(1)
    return [first, replace(second, truth=second.truth[:70, :50])]


def added(stepper: Stepper, collator: Collator, *batches: list[Example]) -> tuple[torch.Tensor, ...]:
    """Accumulated gradients, losses and counts of `batches`, in a step of two images."""
    stepper.optimizer.gradients.zero_()
    stepper.losses.zero_()
    counts = []
    for batch in batches:
        shape = collator.shape(batch[0], with_answer=True)
        counts.append(stepper.accumulate(collator.collate(batch, shape), shape, share=1 / 2).clone())
    return stepper.optimizer.gradients.clone(), stepper.losses.clone(), torch.cat(counts)


def test_padding_counts_nowhere(bench: Workbench, stepper: Stepper, examples: list[Example]) -> None:
    plain = Collator(bench.model, token_multiple=1, canvas_multiple=1)
    padded = Collator(bench.model, token_multiple=16, canvas_multiple=128)
    alone = added(stepper, plain, examples[:1], examples[1:])
    together = added(stepper, padded, examples)
    torch.testing.assert_close(together[0], alone[0], rtol=1e-3, atol=1e-5)
    torch.testing.assert_close(together[1], alone[1])
    assert torch.equal(together[2], alone[2])
    assert together[2].sum(dim=1).tolist() == [example.truth.numel() for example in examples]
    assert together[2][:, [0, 2]].sum(dim=1).tolist() == [int(example.truth.sum()) for example in examples]


def test_a_steps_gradients_are_its_images_mean(bench: Workbench, stepper: Stepper, examples: list[Example]) -> None:
    """The batch's loss is the mean over its images, and gradients add up over batches."""
    collator = Collator(bench.model, token_multiple=16, canvas_multiple=128)
    gradients, losses, _ = added(stepper, collator, examples)
    assert gradients[-1].item() == pytest.approx(losses[0].item() / 2), "the step's loss, for the check of NaN"
    twice, _, _ = added(stepper, collator, examples, examples)
    torch.testing.assert_close(twice, 2 * gradients, rtol=1e-4, atol=1e-6)


def test_what_no_loss_reaches_is_spared_decay(bench: Workbench, stepper: Stepper, examples: list[Example]) -> None:
    """No loss reaches SAM2's IoU and object score heads and the MLP of mask 0; see `model.reach`."""
    collator = Collator(bench.model, token_multiple=1, canvas_multiple=1)
    added(stepper, collator, examples[:1])
    stepper.spare_unreached()
    decays = stepper.store.views(stepper.optimizer.decays, CONFIG.lora.r)
    spared = {name for name, view in decays.items() if not view.any()}
    assert spared and all(view.all() for name, view in decays.items() if name not in spared)
    heads = ("iou_prediction_head", "pred_obj_score_head")
    assert {name for name in decays if any(head in name for head in heads)} <= spared
    assert not any("lora_" in name or "conv_s0" in name for name in spared)


def test_a_step_that_was_left_out_is_told(stepper: Stepper) -> None:
    stepper.check()
    stepper.optimizer.gradients[0] = torch.nan
    stepper.update(3e-4)
    with pytest.raises(NonFiniteError, match=r"gradient norm nan: .* lower learning rate than 0\.0003"):
        stepper.check()


def test_the_mask_decoder_is_compiled_for_known_strides(
    bench: Workbench, stepper: Stepper, examples: list[Example], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Features that a step encodes have their channels last in memory, cached ones do not. A lane meets both."""
    decoders: list[list[Any]] = []

    def backend(graph: torch.fx.GraphModule, inputs: list[Any]) -> Callable[..., Any]:
        if "conv_transpose2d" in graph.code:
            decoders.append(inputs)
        return graph.forward

    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=backend))
    monkeypatch.setattr(Graphs, "_should_replay", lambda *_: False)
    monkeypatch.setattr(torch.cuda, "graph_pool_handle", lambda: None)
    monkeypatch.setattr(bench.engine.layers, "compiled", True)
    compiled = Stepper(bench.model, bench.engine.layers, stepper.store, world_size=1)
    compiled.reset(CONFIG.loss, CONFIG.optimizer)
    collator = Collator(bench.model, token_multiple=1, canvas_multiple=1)
    shape = collator.shape(examples[0], with_answer=False)
    cached = collator.collate(examples[:1], shape)
    features = ("embed", "high_res_1", "high_res_0")
    last = {name: getattr(cached, name).to(memory_format=torch.channels_last).requires_grad_() for name in features}
    compiled.accumulate(cached, shape, share=1.0)
    compiled.accumulate(cached._replace(**last), shape, share=1.0)
    assert len(decoders) == 2, "one for each kind"
    sizes = [number for inputs in decoders for tensor in inputs for number in (*tensor.shape, *tensor.stride())]
    assert all(type(number) is int for number in sizes)


def test_counts_by_hand() -> None:
    logits = torch.tensor([[[1.0, -1.0, 2.0], [0.0, -3.0, 5.0]]])  # 0 is no vessel
    truth = torch.tensor([[[True, True, False], [True, False, False]]])
    valid = torch.tensor([[[True, True, True], [True, True, False]]])
    assert batch_counts(logits, truth, valid).tolist() == [[1, 1, 2, 1]]
