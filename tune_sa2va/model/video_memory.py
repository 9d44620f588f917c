"""Shapes of the reference's parameters that are for video only, which the native model lacks.

They count towards the checkpoint's total and `--merge` must keep them, but a single image uses none of them. SAM2's
code has them in `memory_attention.py`, `memory_encoder.py` and `sam2_base.py`.
"""

from itertools import pairwise

from tune_sa2va.model.dims import Sam2Dims
from tune_sa2va.model.targets import memory_attention_shapes

_SAM2 = "grounding_encoder.sam2_model."
_REMEMBERED_FRAMES = 7
_DOWNSAMPLER_CHANNELS = (1, 4, 16, 64, 256)
"""Channels of the memory encoder's mask downsampler: four convolutions of stride 2, the same for all model widths."""
_FUSER_LAYERS = 2
_FUSER_KERNEL = 7
_EXPANSION = 4

Shape = tuple[int, ...]


def video_memory_shapes(sam2: Sam2Dims) -> dict[str, Shape]:
    """Shape of every parameter of SAM2's video memory, by the checkpoint's keys."""
    return _memory_attention(sam2) | _memory_encoder(sam2) | _object_pointers(sam2)


def _memory_attention(sam2: Sam2Dims) -> dict[str, Shape]:
    shapes: dict[str, Shape] = {}
    for module, (width_in, width_out) in memory_attention_shapes(sam2).items():
        shapes |= _linear(module, width_in, width_out)
    for layer in range(sam2.mem_layers):
        for norm in ("norm1", "norm2", "norm3"):
            shapes |= _norm(f"{_SAM2}memory_attention.layers.{layer}.{norm}", sam2.d)
    return shapes | _norm(f"{_SAM2}memory_attention.norm", sam2.d)


def _memory_encoder(sam2: Sam2Dims) -> dict[str, Shape]:
    encoder = f"{_SAM2}memory_encoder."
    shapes: dict[str, Shape] = {}
    downsampler = f"{encoder}mask_downsampler.encoder."
    for step, (narrow, wide) in enumerate(pairwise(_DOWNSAMPLER_CHANNELS)):  # three modules each, one without weights
        shapes |= _convolution(f"{downsampler}{3 * step}", narrow, wide, kernel=3)
        shapes |= _norm(f"{downsampler}{3 * step + 1}", wide)
    last = 3 * (len(_DOWNSAMPLER_CHANNELS) - 1)
    shapes |= _convolution(f"{downsampler}{last}", _DOWNSAMPLER_CHANNELS[-1], sam2.d, kernel=1)
    for layer in range(_FUSER_LAYERS):
        fuser = f"{encoder}fuser.layers.{layer}."
        shapes |= _convolution(f"{fuser}dwconv", 1, sam2.d, kernel=_FUSER_KERNEL)
        shapes |= _norm(f"{fuser}norm", sam2.d)
        shapes |= _linear(f"{fuser}pwconv1", sam2.d, _EXPANSION * sam2.d)
        shapes |= _linear(f"{fuser}pwconv2", _EXPANSION * sam2.d, sam2.d)
        shapes[f"{fuser}g_weight"] = (sam2.d,)
    shapes |= _convolution(f"{encoder}pix_feat_proj", sam2.d, sam2.d, kernel=1)
    return shapes | _convolution(f"{encoder}out_proj", sam2.d, sam2.mem, kernel=1)


def _object_pointers(sam2: Sam2Dims) -> dict[str, Shape]:
    shapes = _convolution(f"{_SAM2}mask_downsample", 1, 1, kernel=4)
    for layer in range(3):
        shapes |= _linear(f"{_SAM2}obj_ptr_proj.layers.{layer}", sam2.d, sam2.d)
    return shapes | {
        f"{_SAM2}maskmem_tpos_enc": (_REMEMBERED_FRAMES, 1, 1, sam2.mem),
        f"{_SAM2}no_mem_pos_enc": (1, 1, sam2.d),
        f"{_SAM2}no_obj_ptr": (1, sam2.d),
    }


def _linear(module: str, width_in: int, width_out: int) -> dict[str, Shape]:
    return {f"{module}.weight": (width_out, width_in), f"{module}.bias": (width_out,)}


def _convolution(module: str, channels_in: int, channels_out: int, *, kernel: int) -> dict[str, Shape]:
    return {f"{module}.weight": (channels_out, channels_in, kernel, kernel), f"{module}.bias": (channels_out,)}


def _norm(module: str, width: int) -> dict[str, Shape]:
    return {f"{module}.weight": (width,), f"{module}.bias": (width,)}
