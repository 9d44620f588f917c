"""Questions and answers as token sequences in Sa2VA's training format (`qwen_chat`: no system prompt, no BOS)."""

from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Int
from torch import Tensor
from transformers import Qwen2Tokenizer

from tune_sa2va.errors import CheckpointError
from tune_sa2va.model.locate import tokenizer_folder

IGNORE_INDEX = -100
_SPECIAL_TOKENS = ("<|im_start|>", "<|im_end|>", "<img>", "</img>", "<IMG_CONTEXT>", "[SEG]")


@dataclass(frozen=True, slots=True)
class PromptTokens:
    """One sequence: prompt, answer, `<|im_end|>`, newline.

    input_ids: (T,). labels: (T,), -100 except on the answer and its `<|im_end|>`.
    image_start: the first `<IMG_CONTEXT>`; seg_position: the `[SEG]` token; answer_start: the answer's first token.
    """

    input_ids: Int[Tensor, " T"]
    labels: Int[Tensor, " T"]
    image_start: int
    seg_position: int
    answer_start: int


class Prompter:
    """Builds sequences with the tokenizer of one checkpoint."""

    def __init__(self, folder: Path) -> None:
        """Read the tokenizer files in `folder`.

        Raises:
            CheckpointError: no tokenizer there, or one without Sa2VA's special tokens.
        """
        self.tokenizer = _load_tokenizer(folder)
        vocabulary = self.tokenizer.get_vocab()
        if absent := [token for token in _SPECIAL_TOKENS if token not in vocabulary]:
            raise CheckpointError(
                f"{folder}: the tokenizer lacks {', '.join(absent)}, so it is not Sa2VA's. "
                "Copy the tokenizer files from the Sa2VA checkpoint."
            )
        self.seg_id: int = vocabulary["[SEG]"]
        self.end_id: int = vocabulary["<|im_end|>"]

    def build(self, *, question: str, answer: str, num_image_tokens: int) -> PromptTokens:
        """The training sequence for an image of `num_image_tokens`; `answer` holds exactly one [SEG]."""
        assert answer.count("[SEG]") == 1, f"an answer holds one [SEG], got {answer!r}"
        prompt_ids = self._encode(self.prompt_text(question, num_image_tokens))
        answer_ids = self._encode(answer)
        ids = [*prompt_ids, *answer_ids, self.end_id, *self._encode("\n")]
        labels = [IGNORE_INDEX] * len(ids)
        answer_end = len(prompt_ids) + len(answer_ids) + 1
        labels[len(prompt_ids) : answer_end] = ids[len(prompt_ids) : answer_end]
        image_token = self.tokenizer.convert_tokens_to_ids("<IMG_CONTEXT>")
        return PromptTokens(
            input_ids=torch.tensor(ids),
            labels=torch.tensor(labels),
            image_start=ids.index(image_token),
            seg_position=len(prompt_ids) + answer_ids.index(self.seg_id),
            answer_start=len(prompt_ids),
        )

    @staticmethod
    def prompt_text(question: str, num_image_tokens: int) -> str:
        """The user's turn with the image in front, up to where the answer starts."""
        image = f"<img>{'<IMG_CONTEXT>' * num_image_tokens}</img>"
        return f"<|im_start|>user\n{image}\n{question}<|im_end|>\n<|im_start|>assistant\n"

    def _encode(self, text: str) -> list[int]:
        ids: list[int] = self.tokenizer.encode(text, add_special_tokens=False)
        return ids


def _load_tokenizer(folder: Path) -> Qwen2Tokenizer:
    # The class itself, not AutoTokenizer, which asks to run the checkpoint's own code when config.json has an auto_map.
    return Qwen2Tokenizer.from_pretrained(tokenizer_folder(folder), local_files_only=True)
