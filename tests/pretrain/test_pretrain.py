"""The pretraining of the `tiny` preset, and what the shipped weights must be able to do."""

import dataclasses
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tune_sa2va.data import procedural
from tune_sa2va.model.checkpoint import load_model
from tune_sa2va.model.dims import Sa2VADims, read_dims
from tune_sa2va.model.locate import model_folder
from tune_sa2va.model.preprocess import encoder_inputs
from tune_sa2va.model.prompt import Prompter
from tune_sa2va.model.sa2va import ImageFeatures, Sa2VA
from tune_sa2va.pretrain.augment import augment
from tune_sa2va.pretrain.corpus import ANSWERS
from tune_sa2va.pretrain.loop import PretrainSettings, pretrain
from tune_sa2va.pretrain.tokenizer import SPECIAL_TOKENS, make_tokenizer

CPU = torch.device("cpu")
TINY = model_folder("tiny")


def test_a_new_tokenizer_keeps_special_tokens_whole_and_ids_in_the_vocabulary(tmp_path: Path) -> None:
    vocab_size = read_dims(TINY).language_model.vocab_size
    tokenizer = make_tokenizer(tmp_path, vocab_size=vocab_size)
    assert max(tokenizer.get_vocab().values()) < vocab_size
    for token in SPECIAL_TOKENS:
        assert len(tokenizer.encode(token, add_special_tokens=False)) == 1, token
    text = "Please segment the Gefäß-42 (ß, 血管)."
    assert tokenizer.decode(tokenizer.encode(text, add_special_tokens=False)) == text


def test_augmented_masks_stay_two_valued_and_on_their_pixels() -> None:
    masks = torch.zeros(8, 1, 128, 128)
    masks[:, :, 20:70, 50:110] = 1
    images = (masks * 255).to(torch.uint8).expand(-1, 3, -1, -1)
    pictures, turned = augment(images, masks, torch.Generator().manual_seed(0))
    assert set(turned.unique().tolist()) == {0.0, 1.0}
    assert pictures.min() >= 0
    assert pictures.max() <= 1
    for picture, mask in zip(pictures.mean(dim=1), turned[:, 0].bool(), strict=True):
        inside, outside = picture[mask], picture[~mask]
        # Inverted pictures are dark inside: either way the halves must part almost without overlap.
        bright = picture > (inside.median() + outside.median()) / 2
        agreement = (bright == mask).float().mean()
        assert max(agreement, 1 - agreement) > 0.9


def _small(dims: Sa2VADims) -> Sa2VADims:
    return dataclasses.replace(dims, sam2=dims.sam2.model_copy(update={"image_size": 128}))


def _two_steps(folder: Path, minutes: float, *, stop_after_s: float = 1e9) -> dict[str, torch.Tensor]:
    folder.mkdir(exist_ok=True)
    settings = PretrainSettings(
        minutes=minutes, batch_size=2, workers=0, pool_scenes=8, log_every=1, compile=False, peak_lr=1e-4
    )
    pretrain(_small(read_dims(TINY)), Prompter(TINY), folder, settings, device=CPU, stop_after_s=stop_after_s)
    return load_file(folder / "state.safetensors")


def test_a_stopped_run_goes_on_from_its_own_numbers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = _two_steps(tmp_path, minutes=1e-4)
    assert "step 1 " in capsys.readouterr().out
    # Nothing left of the schedule: the second session loads the state and writes it again.
    second = _two_steps(tmp_path, minutes=1e-4)
    assert first.keys() == second.keys()
    assert all(torch.equal(first[key], second[key]) for key in first)
    # With time left it counts on from there and changes the weights.
    third = _two_steps(tmp_path, minutes=1.0, stop_after_s=1.0)
    assert set(third) == set(first)


@pytest.fixture(scope="module")
def tiny() -> Sa2VA:
    return load_model(TINY, device=CPU, dtype=torch.float32)


@pytest.fixture(scope="module")
def fundus(tiny: Sa2VA) -> ImageFeatures:
    image = procedural.render("fundus", 5, 512).image
    inputs = encoder_inputs(image, tiny.dims)
    with torch.no_grad():
        return tiny.encode_image(inputs.pixel_values, inputs.g_pixel_values, project_high_res=True)


@torch.no_grad()
def test_the_shipped_weights_answer_with_seg_by_themselves(tiny: Sa2VA, fundus: ImageFeatures) -> None:
    prompter = Prompter(TINY)
    question = prompter.prompt_text("Please segment the blood vessel.", tiny.dims.tokens_per_tile)
    ids = prompter.tokenizer.encode(question, add_special_tokens=False)
    asked, image_start = len(ids), ids.index(prompter.tokenizer.convert_tokens_to_ids("<IMG_CONTEXT>"))
    while ids[-1] != prompter.end_id and len(ids) < asked + 20:
        embeds = tiny.embed_text(torch.tensor([ids]), fundus.image_tokens[None], image_start)
        ids.append(int(tiny.language_model.lm_head(tiny.hidden_states(embeds)[:, -1]).argmax()))
    assert prompter.tokenizer.decode(ids[asked:-1]) in ANSWERS


@torch.no_grad()
def test_the_shipped_weights_give_other_masks_to_other_questions(tiny: Sa2VA, fundus: ImageFeatures) -> None:
    masks = [_mask(tiny, fundus, text) for text in ("blood vessel", "optic disc")]
    overlap, union = (masks[0] & masks[1]).sum(), (masks[0] | masks[1]).sum()
    assert union > 0
    assert overlap / union < 0.5


def _mask(model: Sa2VA, features: ImageFeatures, text: str) -> torch.Tensor:
    tokens = Prompter(TINY).build(
        question=f"Please segment the {text}.", answer="It is [SEG].", num_image_tokens=model.dims.tokens_per_tile
    )
    embeds = model.embed_text(tokens.input_ids[None], features.image_tokens[None], tokens.image_start)
    seg = model.seg_embeddings(model.hidden_states(embeds), torch.tensor([tokens.seg_position]))
    masks = model.decode_masks(features.embed[None], features.high_res_1[None], features.high_res_0[None], seg)
    return masks.best()[0] > 0
