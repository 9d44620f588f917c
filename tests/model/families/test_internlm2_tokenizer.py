"""InternLM2's tokenizer rebuilt from tokenizer.model gives the ids of the sentencepiece library itself.

`internlm2_tokenizer/` is a small model that sentencepiece 0.2.3 trained on made-up sentences as InternLM2's was (BPE,
byte fallback, identity normalisation, all white space kept). expected.json has the library's ids for each piece of text
between added tokens, which is how the reference's tokenizer calls it.
"""

import json
import shutil
from pathlib import Path

import pytest

from tune_sa2va.errors import CheckpointError
from tune_sa2va.model.families.internlm2_tokenizer import load_internlm2_tokenizer
from tune_sa2va.model.prompt import Prompter

FOLDER = Path(__file__).parent / "internlm2_tokenizer"


@pytest.mark.parametrize(("text", "ids"), json.loads((FOLDER / "expected.json").read_text(encoding="utf-8")))
def test_the_ids_are_sentencepieces(text: str, ids: list[int]) -> None:
    assert load_internlm2_tokenizer(FOLDER).encode(text, add_special_tokens=False) == ids


def test_a_sequence_opens_with_the_bos() -> None:
    prompter = Prompter(FOLDER)
    tokens = prompter.build(question="Please segment the blood vessel.", answer="It is [SEG].", num_image_tokens=2)
    ids = tokens.input_ids.tolist()
    opening = json.loads((FOLDER / "expected.json").read_text(encoding="utf-8"))[0][1]
    assert ids[: tokens.answer_start] == [1, *opening]
    assert ids[tokens.seg_position] == prompter.seg_id
    assert ids.count(prompter.end_id) == 2
    assert tokens.labels[tokens.seg_position] == prompter.seg_id


def test_a_damaged_model_is_named(tmp_path: Path) -> None:
    shutil.copytree(FOLDER, tmp_path / "copy")
    (tmp_path / "copy" / "tokenizer.model").write_bytes(b"not a model")
    with pytest.raises(CheckpointError, match=r"tokenizer\.model: is not a SentencePiece model"):
        load_internlm2_tokenizer(tmp_path / "copy")


def test_added_tokens_with_a_gap_are_refused(tmp_path: Path) -> None:
    shutil.copytree(FOLDER, tmp_path / "copy")
    path = tmp_path / "copy" / "added_tokens.json"
    path.write_text(
        json.dumps({token: index + (token == "</vp>") for token, index in json.loads(path.read_text()).items()})
    )
    with pytest.raises(CheckpointError, match="with gaps"):
        load_internlm2_tokenizer(tmp_path / "copy")
