"""How a question and its answer are put into words around them: the chat template that a checkpoint was trained with.

The templates are those of the reference's `templates.py` (xtuner's), without a system prompt. Sa2VA's own checkpoints
have `qwen_chat` or `internlm2_chat`, which are the same text then; models made with its code may have `phi3_chat` over
another tokenizer, which knows its words as ordinary text. `template` of config.json says which.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tune_sa2va.errors import CheckpointError


@dataclass(frozen=True, slots=True)
class Template:
    """before, after: what stands around a question, up to where the answer starts. end: what ends an answer.

    After the end comes a newline, as the reference's SEP has it.
    """

    before: str
    after: str
    end: str


_IM = Template("<|im_start|>user\n", "<|im_end|>\n<|im_start|>assistant\n", "<|im_end|>")

TEMPLATES = {
    "qwen_chat": _IM,
    "internlm2_chat": _IM,
    "phi3_chat": Template("<|user|>\n", "<|end|>\n<|assistant|>\n", "<|end|>"),
}


def template_of(config: dict[str, Any], where: Path) -> Template:
    """The template that a config.json names; `qwen_chat`, which every family can be asked in, where it names none.

    Raises:
        CheckpointError: it names one that is not known.
    """
    name = str(config.get("template") or "qwen_chat").replace("-", "_")
    if name not in TEMPLATES:
        raise CheckpointError(
            f"{where}: template {name[:80]!r} is not known, wanted {', '.join(sorted(TEMPLATES))}. "
            "Name the one that the model was trained with."
        )
    return TEMPLATES[name]
