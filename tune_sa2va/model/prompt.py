"""Questions and answers as token sequences in Sa2VA's training format.

The text around them is the checkpoint's template (`templates.py`). InternLM2's sequences start with a BOS, as its
tokenizer adds one and the reference trains with it (`tokenize_conversation` in its data_utils.py). The tokens that
stand for the image depend on the tokenizer: InternVL's has `<IMG_CONTEXT>`, Qwen-VL's does not.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Int
from torch import Tensor
from transformers import PreTrainedTokenizerBase, Qwen2Tokenizer

from tune_sa2va.errors import CheckpointError
from tune_sa2va.model.families.internlm2_tokenizer import load_internlm2_tokenizer
from tune_sa2va.model.locate import tokenizer_folder
from tune_sa2va.model.templates import Template, template_of

IGNORE_INDEX = -100
_CHAT_TOKENS = ("<|im_start|>", "<|im_end|>", "[SEG]")
# The tokens that open the image, stand for each of its tokens, and close it.
_INTERNVL_IMAGE = ("<img>", "<IMG_CONTEXT>", "</img>")
_QWEN_VL_IMAGE = ("<|vision_start|>", "<|image_pad|>", "<|vision_end|>")


@dataclass(frozen=True, slots=True)
class PromptTokens:
    """One sequence: prompt, answer, the template's end, newline.

    input_ids: (T,). labels: (T,), -100 except on the answer and its end.
    image_start, answer_start: positions of the image's and the answer's first token. seg_position: that of `[SEG]`.
    """

    input_ids: Int[Tensor, " T"]
    labels: Int[Tensor, " T"]
    image_start: int
    seg_position: int
    answer_start: int


class Prompter:
    """Builds sequences with the tokenizer of one checkpoint."""

    def __init__(self, folder: Path) -> None:
        """Reads the tokenizer files in `folder`, and the template from its config.json if there is one.

        Raises:
            CheckpointError: the tokenizer is missing or lacks Sa2VA's special tokens, or the template is unknown.
        """
        self._template = _template(folder)
        self.tokenizer, self._bos = _load_tokenizer(folder)
        vocabulary = self.tokenizer.get_vocab()
        self._image = _INTERNVL_IMAGE if "<IMG_CONTEXT>" in vocabulary else _QWEN_VL_IMAGE
        if absent := [token for token in (*_CHAT_TOKENS, *self._image) if token not in vocabulary]:
            raise CheckpointError(
                f"{folder}: the tokenizer lacks {', '.join(absent)}, so it is not Sa2VA's. "
                "Copy the tokenizer files from the Sa2VA checkpoint."
            )
        self.seg_id: int = vocabulary["[SEG]"]
        self.end_id: int | None = vocabulary.get(self._template.end)
        """The token that ends an answer; None if the end is not a token of its own in this tokenizer."""
        self.pad_id: int = vocabulary["<|im_end|>"]
        """Pads batches; the model never attends to it."""

    def build(self, *, question: str, answer: str, num_image_tokens: int) -> PromptTokens:
        """The training sequence for an image of `num_image_tokens`. `answer` must contain exactly one [SEG]."""
        assert answer.count("[SEG]") == 1, f"an answer holds one [SEG], got {answer!r}"
        prompt_ids = [*self._bos, *self._encode(self.prompt_text(question, num_image_tokens))]
        # If the end is not a token of its own, the answer's last letters may share a token with it.
        end = [] if self.end_id is None else [self.end_id]
        answer_ids = [*self._encode(answer + ("" if end else self._template.end)), *end]
        ids = [*prompt_ids, *answer_ids, *self._encode("\n")]
        labels = [IGNORE_INDEX] * len(ids)
        answer_end = len(prompt_ids) + len(answer_ids)
        labels[len(prompt_ids) : answer_end] = ids[len(prompt_ids) : answer_end]
        image_token = self.tokenizer.convert_tokens_to_ids(self._image[1])
        return PromptTokens(
            input_ids=torch.tensor(ids),
            labels=torch.tensor(labels),
            image_start=ids.index(image_token),
            seg_position=len(prompt_ids) + answer_ids.index(self.seg_id),
            answer_start=len(prompt_ids),
        )

    def prompt_text(self, question: str, num_image_tokens: int) -> str:
        """The user's turn with the image first, up to where the answer starts. Does not include the BOS."""
        opening, token, closing = self._image
        image = f"{opening}{token * num_image_tokens}{closing}"
        return f"{self._template.before}{image}\n{question}{self._template.after}"

    def without_end(self, written: list[int]) -> list[int] | None:
        """The tokens of `written` before the end; None if the end has not been written yet.

        If the end is not a token of its own, the decoded text without line breaks is compared, as in the reference.
        """
        if self.end_id is not None:
            return written[:-1] if written and written[-1] == self.end_id else None
        end = self._template.end
        text = self._decode(written)
        if not text.endswith(end):
            return None
        while written and len(self._decode(written)) > len(text) - len(end):
            written = written[:-1]
        return written

    def _decode(self, ids: list[int]) -> str:
        return str(self.tokenizer.decode(ids)).replace("\r", "").replace("\n", "")

    def _encode(self, text: str) -> list[int]:
        ids: list[int] = self.tokenizer.encode(text, add_special_tokens=False)
        return ids


def _template(folder: Path) -> Template:
    path = folder / "config.json"
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:  # a tokenizer alone
        config = {}
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: cannot be read as JSON: {error}. Copy it again from the checkpoint.") from error
    return template_of(config if isinstance(config, dict) else {}, path)


def _load_tokenizer(folder: Path) -> tuple[PreTrainedTokenizerBase, list[int]]:
    """The tokenizer, and the ids that start every sequence.

    AutoTokenizer is not used: it asks to run the checkpoint's own code if config.json has an auto_map.
    """
    folder = tokenizer_folder(folder)
    if _tokenizer_class(folder).startswith("InternLM2"):
        tokenizer = load_internlm2_tokenizer(folder)
        return tokenizer, [tokenizer.bos_token_id]
    try:
        return Qwen2Tokenizer.from_pretrained(folder, local_files_only=True), []
    except Exception as error:  # the tokenizers library raises plain Exception for a file that it cannot read
        reason = " ".join(str(error).split())
        raise CheckpointError(
            f"{folder}: the tokenizer's files cannot be read ({reason}). Copy them again from the checkpoint."
        ) from error


def _tokenizer_class(folder: Path) -> str:
    path = folder / "tokenizer_config.json"
    try:
        return str(json.loads(path.read_text(encoding="utf-8")).get("tokenizer_class", ""))
    except FileNotFoundError:
        return ""
    except (OSError, ValueError, AttributeError, RecursionError) as error:
        raise CheckpointError(f"{path}: cannot be read as JSON: {error}. Copy it again from the checkpoint.") from error
