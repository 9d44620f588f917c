"""The shapes of a base model's features, to compute their size and to check whether a file is of this model."""

import torch

from tune_sa2va.cache.feature_file import Layout
from tune_sa2va.model.dims import Sa2VADims


def feature_shapes(dims: Sa2VADims, num_tokens: int, *, raw_high_res: bool) -> dict[str, tuple[int, ...]]:
    """Name of each tensor of `ImageFeatures` -> its shape, for a picture of `num_tokens` image tokens.

    The shapes are computed by rule. The model cannot be run on the meta device for this: Qwen-VL's vision towers
    compute with the values of the grid.
    """
    d, side, width = dims.sam2.d, dims.sam2.embed_side, dims.language_model.hidden_size
    shapes = {
        "image_tokens": (num_tokens, width),
        "embed": (d, side, side),
        "high_res_1": (d if raw_high_res else d // 4, 2 * side, 2 * side),
        "high_res_0": (d if raw_high_res else d // 8, 4 * side, 4 * side),
    }
    if dims.family.is_internvl:
        return shapes
    levels = getattr(dims.vision, "deepstack_visual_indexes", ())  # Qwen2.5-VL has none
    return shapes | {"deepstack": (len(levels), num_tokens, width)}


def misfit(layout: Layout, dims: Sa2VADims, dtype: torch.dtype, *, raw_high_res: bool) -> str:
    """How a file's header differs from features of this model; empty if it fits. Any number of image tokens fits.

    An undamaged file of another model would otherwise stop a trial with an error deep inside the model.
    """
    tokens = layout.places.get("image_tokens")
    wanted = feature_shapes(dims, tokens.shape[0] if tokens and tokens.shape else 0, raw_high_res=raw_high_res)
    if layout.places.keys() != wanted.keys():
        return f"it holds {', '.join(sorted(layout.places))}, wanted {', '.join(sorted(wanted))}"
    for name, place in layout.places.items():
        if (place.dtype, place.shape) != (dtype, wanted[name]):
            return f"{name} is {place.shape} of {place.dtype}, wanted {wanted[name]} of {dtype}"
    return ""
