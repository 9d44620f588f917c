"""Text becomes the reference's token ids."""

import json
import shutil
import tarfile
from pathlib import Path

import pytest
from safetensors.torch import load_file

from tune_sa2va.errors import CheckpointError
from tune_sa2va.model.dims import read_dims
from tune_sa2va.model.locate import model_folder, preset_names
from tune_sa2va.model.prompt import IGNORE_INDEX, Prompter


def test_golden_ids_and_labels(golden_folder: Path) -> None:
    golden = load_file(golden_folder / "inputs.safetensors")
    sample = json.loads((golden_folder / "sample.json").read_text())
    prompter = Prompter(golden_folder)
    tokens = prompter.build(question=sample["question"], answer=sample["answer"], num_image_tokens=256)
    assert tokens.input_ids.tolist() == golden["input_ids"][0].tolist()
    assert tokens.labels.tolist() == golden["labels"][0].tolist()
    assert prompter.prompt_text(sample["question"], 256) == sample["prompt"]
    ids = sample["special_token_ids"]
    assert tokens.input_ids[tokens.seg_position] == ids["[SEG]"] == prompter.seg_id
    image = tokens.input_ids[tokens.image_start - 1 : tokens.image_start + 257].tolist()
    assert image == [ids["<img>"], *[ids["<IMG_CONTEXT>"]] * 256, ids["</img>"]]


def test_the_real_tokenizer(real_folder: Path, tmp_path: Path) -> None:
    with tarfile.open(real_folder / "tokenizer.tar.xz") as archive:
        archive.extractall(tmp_path, filter="data")
    prompter = Prompter(next(tmp_path.rglob("vocab.json")).parent)
    tokens = prompter.build(question="Please segment the blood vessel.", answer="It is [SEG].", num_image_tokens=3)
    ids = tokens.input_ids.tolist()
    assert ids[:2] == [151644, 872]  # <|im_start|>user: no BOS, no system prompt
    assert ids[tokens.image_start - 1 : tokens.image_start + 4] == [151665, 151667, 151667, 151667, 151666]
    # "It", " is", a space of its own, [SEG], ".", <|im_end|>, newline
    assert ids[tokens.answer_start :] == [2132, 374, 220, 151674, 13, 151645, 198]
    assert tokens.seg_position == tokens.answer_start + 3
    assert tokens.labels[tokens.answer_start :].tolist() == [2132, 374, 220, 151674, 13, 151645, IGNORE_INDEX]


def test_a_folder_without_tokenizer(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="has no tokenizer files"):
        Prompter(tmp_path)


def test_a_tokenizer_without_seg(golden_folder: Path, tmp_path: Path) -> None:
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(golden_folder / name, tmp_path / name)
        text = (tmp_path / name).read_text().replace('"[SEG]"', '"[OTHER]"')
        (tmp_path / name).write_text(text)
    with pytest.raises(CheckpointError, match=r"the tokenizer lacks \[SEG\]"):
        Prompter(tmp_path)


@pytest.mark.parametrize("preset", preset_names())
def test_every_preset_builds_sequences_within_its_vocabulary(preset: str) -> None:
    folder = model_folder(preset)
    tokens = Prompter(folder).build(question="Please segment the blood vessel.", answer="[SEG].", num_image_tokens=3)
    assert tokens.input_ids.max() < read_dims(folder).language_model.vocab_size


def _checkpoint(golden_folder: Path, folder: Path, template: str | None) -> Path:
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(golden_folder / name, folder / name)
    if template is not None:
        (folder / "config.json").write_text(json.dumps({"template": template}))
    return folder


@pytest.mark.parametrize("template", [None, "qwen_chat", "internlm2_chat", "internlm2-chat"])
def test_templates_that_are_one_text(golden_folder: Path, tmp_path: Path, template: str | None) -> None:
    asked = {"question": "Please segment the blood vessel.", "answer": "It is [SEG].", "num_image_tokens": 3}
    found = Prompter(_checkpoint(golden_folder, tmp_path, template)).build(**asked)
    assert found.input_ids.tolist() == Prompter(golden_folder).build(**asked).input_ids.tolist()


def test_phi3_chat_over_a_tokenizer_that_knows_its_words_as_text(golden_folder: Path, tmp_path: Path) -> None:
    prompter = Prompter(_checkpoint(golden_folder, tmp_path, "phi3_chat"))
    tokens = prompter.build(question="Where?", answer="It is [SEG].", num_image_tokens=2)
    text = prompter.tokenizer.decode(tokens.input_ids.tolist())
    image = "<img><IMG_CONTEXT><IMG_CONTEXT></img>"
    assert text == f"<|user|>\n{image}\nWhere?<|end|>\n<|assistant|>\nIt is [SEG].<|end|>\n"
    answer = tokens.labels[tokens.answer_start :]
    assert prompter.tokenizer.decode(answer[answer != IGNORE_INDEX].tolist()) == "It is [SEG].<|end|>"
    assert tokens.input_ids[tokens.seg_position] == prompter.seg_id
    assert prompter.end_id is None


@pytest.mark.parametrize("template", ["qwen_chat", "phi3_chat"])
def test_where_an_answer_ends(golden_folder: Path, tmp_path: Path, template: str) -> None:
    prompter = Prompter(_checkpoint(golden_folder, tmp_path, template))
    tokens = prompter.build(question="Where?", answer="It is [SEG].", num_image_tokens=2)
    answer = [token for token in tokens.labels.tolist() if token != IGNORE_INDEX]
    for length in range(len(answer)):
        assert prompter.without_end(answer[:length]) is None
    written = prompter.without_end(answer)
    assert written is not None
    assert prompter.tokenizer.decode(written) == "It is [SEG]."


def test_a_template_that_is_not_known_is_named(golden_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"'vicuna' is not known, wanted .*phi3_chat"):
        Prompter(_checkpoint(golden_folder, tmp_path, "vicuna"))
