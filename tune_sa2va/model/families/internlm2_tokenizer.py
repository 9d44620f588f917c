"""Builds InternLM2's tokenizer from its files, without running the checkpoint's `tokenization_internlm2.py`.

Published folders have `tokenizer.model`, a SentencePiece BPE with byte fallback, and the added tokens in JSON. The
tokenizer is rebuilt here for the `tokenizers` library. As in the reference, each piece of text between added tokens is
encoded separately.
"""

import json
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Tokenizer, decoders, normalizers
from tokenizers.models import BPE
from transformers import PreTrainedTokenizerFast
from transformers.convert_slow_tokenizer import generate_merges, import_protobuf

from tune_sa2va.errors import CheckpointError

_BPE = 2  # SentencePiece's `TrainerSpec.ModelType`


def load_internlm2_tokenizer(folder: Path) -> PreTrainedTokenizerFast:
    """The tokenizer in `folder`, from tokenizer.json if there is one, otherwise from tokenizer.model.

    Raises:
        CheckpointError: tokenizer.model or the added tokens are not like InternLM2's.
    """
    ready = folder / "tokenizer.json"
    backend = Tokenizer.from_file(str(ready)) if ready.exists() else _from_sentencepiece(folder)
    return PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="<s>", eos_token="</s>", unk_token="<unk>")


def _from_sentencepiece(folder: Path) -> Tokenizer:
    path = folder / "tokenizer.model"
    proto = import_protobuf().ModelProto()
    try:
        proto.ParseFromString(path.read_bytes())
    except Exception as error:  # protobuf's DecodeError has no stable import path
        raise CheckpointError(f"{path}: is not a SentencePiece model ({error}). Copy it again.") from error
    spec = proto.normalizer_spec
    if proto.trainer_spec.model_type != _BPE or spec.remove_extra_whitespaces or spec.precompiled_charsmap:
        raise CheckpointError(
            f"{path}: is not a plain BPE that keeps all white space, as InternLM2's is. "
            "Copy it again from the Sa2VA checkpoint, or save a tokenizer.json next to it."
        )
    scores = {piece.piece: piece.score for piece in proto.pieces}
    ids = {piece.piece: index for index, piece in enumerate(proto.pieces)}
    merges = generate_merges(ids, scores)
    backend = Tokenizer(BPE(ids, merges, unk_token=proto.trainer_spec.unk_piece, fuse_unk=True, byte_fallback=True))
    prefix = [normalizers.Prepend("▁")] if spec.add_dummy_prefix else []
    backend.normalizer = normalizers.Sequence([*prefix, normalizers.Replace(" ", "▁")])
    backend.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    backend.add_special_tokens([AddedToken(token, normalized=False, special=True) for token in _added(folder, ids)])
    return backend


def _added(folder: Path, ids: dict[str, int]) -> list[str]:
    """The added tokens in the order of their ids, which follow SentencePiece's own."""
    by_id: dict[int, str] = {ids[token]: token for token in ("<unk>", "<s>", "</s>") if token in ids}
    for name, read in (("added_tokens.json", _plain), ("tokenizer_config.json", _decoder)):
        if (path := folder / name).exists():
            try:
                by_id |= read(json.loads(path.read_text(encoding="utf-8")))
            except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
                raise CheckpointError(f"{path}: cannot be read ({error}). Copy it again.") from error
    new = sorted(index for index in by_id if index >= len(ids))
    if new != list(range(len(ids), len(ids) + len(new))):
        raise CheckpointError(
            f"{folder}: added tokens have ids {new[0]} to {new[-1]} with gaps, wanted consecutive ids from {len(ids)}. "
            "Copy added_tokens.json and tokenizer_config.json again from the Sa2VA checkpoint."
        )
    return [by_id[index] for index in sorted(by_id)]


def _plain(content: dict[str, Any]) -> dict[int, str]:
    return {int(index): str(token) for token, index in content.items()}


def _decoder(content: dict[str, Any]) -> dict[int, str]:
    return {int(index): str(token["content"]) for index, token in content.get("added_tokens_decoder", {}).items()}
