"""The chat templates: the text around a question and its answer that a checkpoint was trained with.

The templates are those of the reference's `templates.py` (xtuner's), without a system prompt. Sa2VA's own checkpoints
have `qwen_chat` or `internlm2_chat`, whose text is then the same. Models made with its code may have `phi3_chat` with
another tokenizer, in which its markers are ordinary text. `template` in config.json names the template.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tune_sa2va.errors import CheckpointError


@dataclass(frozen=True, slots=True)
class Template:
    """before, after: text before and after a question, up to where the answer starts. end: text that ends an answer.

    A newline follows the end, as in the reference's SEP.
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
    """The template that a config.json names; `qwen_chat`, which suits every family, if it names none.

    where: the path of config.json, for the message.

    Raises:
        CheckpointError: the template is unknown.
    """
    name = str(config.get("template") or "qwen_chat").replace("-", "_")
    if name not in TEMPLATES:
        raise CheckpointError(
            f"{where}: template {name[:80]!r} is not known, wanted {', '.join(sorted(TEMPLATES))}. "
            "Name the one that the model was trained with."
        )
    return TEMPLATES[name]
