"""Makes the tokenizer of the `tiny` preset: a small byte-level BPE in Qwen2's format, with Sa2VA's special tokens."""

from collections.abc import Iterable
from pathlib import Path

from transformers import Qwen2Tokenizer

from tune_sa2va.data import procedural
from tune_sa2va.pretrain.corpus import ANSWERS, EXTRA_WORDS, QUESTIONS

# Qwen2's three come first, then InternVL's and Sa2VA's, in the order of the published checkpoints.
SPECIAL_TOKENS: tuple[str, ...] = (
    "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<img>", "</img>", "<IMG_CONTEXT>", "<quad>", "</quad>",
    "<ref>", "</ref>", "<box>", "</box>", "[SEG]", "<p>", "</p>", "<vp>", "</vp>",
)  # fmt: skip


def make_tokenizer(folder: Path, *, vocab_size: int) -> Qwen2Tokenizer:
    """Trains a tokenizer on the sentences of pretraining and saves it to `folder`. Ids are below `vocab_size`."""
    base = Qwen2Tokenizer(vocab=_byte_vocabulary(), merges=[])
    tokenizer = base.train_new_from_iterator(
        [[sentence] for sentence in _sentences()], vocab_size=vocab_size - len(SPECIAL_TOKENS), show_progress=False
    )
    tokenizer.add_special_tokens({"additional_special_tokens": [t for t in SPECIAL_TOKENS if t != "<|endoftext|>"]})
    assert len(tokenizer) <= vocab_size, f"{len(tokenizer)} tokens do not fit in {vocab_size}"
    tokenizer.save_pretrained(folder)
    return tokenizer


def _byte_vocabulary() -> dict[str, int]:
    from tokenizers.pre_tokenizers import ByteLevel

    return {letter: index for index, letter in enumerate(sorted(ByteLevel.alphabet()))} | {"<|endoftext|>": 256}


def _sentences() -> Iterable[str]:
    texts = {
        text
        for family in procedural.FAMILIES
        for seed in range(60)
        for text in procedural.render(family, seed, 128).masks
    }
    for text in sorted(texts | set(EXTRA_WORDS)):
        yield from (f"user\n{question.format(text=text)}\nassistant\n" for question in QUESTIONS)
        yield from ANSWERS
