"""Lets the model write its own answer: greedy decoding with a key-value cache, and the hidden states at each [SEG].

transformers' `generate` returns no hidden state for the last token that it writes, so an answer that is cut off right
after [SEG] would have no mask. Here each token is fed to the model before the next is chosen, so every [SEG] has one.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import DynamicCache

from tune_sa2va.model.families.qwen_vl import VisualContext
from tune_sa2va.model.prompt import Prompter, PromptTokens
from tune_sa2va.model.sa2va import Sa2VA

MAX_NEW_TOKENS = 32
"""The longest of the reference's answers has 12 tokens. A model that has not written [SEG] after 32 will not."""


@dataclass(frozen=True, slots=True)
class Written:
    """token_ids: (N,), the answer without its end. seg_hidden: (S, D), the hidden state at each of its S [SEG].

    ended: whether the model ended the answer before the limit.
    """

    token_ids: Int[Tensor, " N"]
    seg_hidden: Float[Tensor, "S D"]
    ended: bool


@torch.no_grad()
def greedy(
    model: Sa2VA,
    tokens: PromptTokens,
    image_tokens: Float[Tensor, "I D"],
    *,
    prompter: Prompter,
    context: VisualContext | None = None,
    max_new_tokens: int = MAX_NEW_TOKENS,
    may_end: bool = True,
) -> Written:
    """Decodes greedily from where the answer of `tokens` would start.

    context: `ImageFeatures.context(tokens.image_start)` of the same image; only Qwen-VL needs it.
    may_end: if False, the end token is never chosen, so that golden data have a fixed number of tokens.
    """
    base_dtype = model.no_mem_embed.dtype
    with torch.autocast(tokens.input_ids.device.type, torch.bfloat16, enabled=base_dtype == torch.bfloat16):
        cache = DynamicCache(config=model.dims.language_model)
        prompt_ids = tokens.input_ids[None, : tokens.answer_start]
        hidden = _feed(model, model.embed_text(prompt_ids, image_tokens[None], tokens.image_start), context, cache)
        written: list[int] = []
        seg_hidden = [hidden.new_zeros(0, hidden.shape[-1])]
        while len(written) < max_new_tokens:
            logits = model.logits(hidden)[0].float()
            if not may_end and prompter.end_id is not None:
                logits[prompter.end_id] = -torch.inf
            token = int(logits.argmax())
            answer = prompter.without_end([*written, token]) if may_end else None
            if answer is not None:
                return Written(prompt_ids.new_tensor(answer), torch.cat(seg_hidden), ended=True)
            written.append(token)
            embed = model.language_model.get_input_embeddings()(prompt_ids.new_tensor([[token]]))
            hidden = _feed(model, embed, context, cache)
            if token == prompter.seg_id:
                seg_hidden.append(hidden)
        return Written(prompt_ids.new_tensor(written), torch.cat(seg_hidden), ended=False)


def _feed(
    model: Sa2VA, embeds: Float[Tensor, "1 T D"], context: VisualContext | None, cache: DynamicCache
) -> Float[Tensor, "1 D"]:
    """The last layer's hidden state at the last of the given positions. Appends them to the cache."""
    return model.hidden_states(embeds, context, cache=cache)[:, -1]
