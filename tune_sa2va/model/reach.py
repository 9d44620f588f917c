"""Which trained tensors a mask's loss can reach.

The loss sees one of masks 1 to 3, the one with the highest predicted IoU, and picks it by an argmax: no gradient flows
into the predicted IoU, into the object score, or into mask 0's own MLP. SAM2's memory attention never runs on a single
image. `lm_head` runs for the answer's cross entropy alone.
"""

_NEVER = (
    "sam_mask_decoder.iou_prediction_head.",
    "sam_mask_decoder.pred_obj_score_head.",
    "sam_mask_decoder.output_hypernetworks_mlps.0.",
)
_LM_HEAD = "language_model.lm_head."


def is_reached(native: str, *, lm_loss: bool) -> bool:
    """Whether a loss reaches the native tensor or module `native` (of the trained part: not of the encoders).

    lm_loss: whether the answer's cross entropy has a weight.
    """
    name = f"{native}."
    return not name.startswith(_NEVER) and (lm_loss or not name.startswith(_LM_HEAD))
