"""Which trained tensors get a gradient from the loss.

The loss uses one of masks 1 to 3, the one with the highest predicted IoU, chosen by an argmax. So no gradient flows
into the predicted IoU, the object score, or the MLP of mask 0. SAM2's memory attention is not used on a single image.
`lm_head` is used only for the answer's cross entropy.
"""

_NEVER = (
    "sam_mask_decoder.iou_prediction_head.",
    "sam_mask_decoder.pred_obj_score_head.",
    "sam_mask_decoder.output_hypernetworks_mlps.0.",
)
_LM_HEAD = "language_model.lm_head."


def is_reached(native: str, *, lm_loss: bool) -> bool:
    """Whether the loss reaches the native tensor or module `native`, which must not be in an encoder.

    lm_loss: whether the answer's cross entropy has a weight above 0.
    """
    name = f"{native}."
    return not name.startswith(_NEVER) and (lm_loss or not name.startswith(_LM_HEAD))
