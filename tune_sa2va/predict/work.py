"""One image after the other through the model: features, mask logits, mask, files."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from tune_sa2va.data import load_image
from tune_sa2va.data.sample import DEFAULT_TEXT
from tune_sa2va.evaluate.members import Members
from tune_sa2va.evaluate.predict import Answer, forced_logits, generated_answer
from tune_sa2va.evaluate.progress import tracked
from tune_sa2va.evaluate.threshold import logit_of
from tune_sa2va.evaluate.tuned_model import TunedModel, find_tuned, the_device
from tune_sa2va.model.encoding import encode
from tune_sa2va.model.prompt import Prompter
from tune_sa2va.model.sa2va import ImageFeatures, Sa2VA
from tune_sa2va.predict.output import Output, mask_name

Mode = Literal["forced", "generate"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Predictor:
    """A loaded model with its question. members: its adapters; of an ensemble the first one writes its own answers.
    threshold: vessel is where the probability is above it."""

    model: Sa2VA
    members: Members
    prompter: Prompter
    question: str
    answer: str
    mode: Mode
    threshold: float

    @classmethod
    def open(cls, tuned: TunedModel, *, text: str, mode: Mode, threshold: float | None = None) -> "Predictor":
        """Load the model, on a GPU where there is one. text: what is asked for. threshold: the model's own if None."""
        model = tuned.load_base(the_device())
        members = tuned.attach(model)
        question = tuned.question.format(text=text)
        return cls(
            model=model,
            members=members,
            prompter=Prompter(tuned.folder),
            question=question,
            answer=tuned.answer,
            mode=mode,
            threshold=tuned.threshold if threshold is None else threshold,
        )

    def mask(self, image: str | Path | UInt8[np.ndarray, "H W 3"]) -> Bool[np.ndarray, "H W"]:
        """The vessels of an image, a file or its upright pixels, on its own pixels."""
        picture = image if isinstance(image, np.ndarray) else load_image(Path(image))
        return _mask(self.answer_to(picture).logits, picture.shape[:2], self.threshold)

    def answer_to(self, picture: UInt8[np.ndarray, "H W 3"]) -> Answer:
        """The answer and its mask logits on the picture's own pixels."""
        self.members.enter_first()
        features = self._encode(picture)
        tokens = self.prompter.build(
            question=self.question, answer=self.answer, num_image_tokens=len(features.image_tokens)
        )
        tokens = replace(tokens, input_ids=tokens.input_ids.to(self.model.no_mem_embed.device))
        height, width, _ = picture.shape
        if self.mode == "generate":
            return generated_answer(self.model, features, tokens, (height, width), prompter=self.prompter)

        def logits() -> Float[Tensor, "H W"]:
            has_own = len(self.members) > 1 and self.members.changes_encoders
            own = self._encode(picture) if has_own else features
            return forced_logits(self.model, own, tokens, (height, width))

        return Answer(self.answer, self.members.mean_logits(logits))

    def _encode(self, picture: UInt8[np.ndarray, "H W 3"]) -> ImageFeatures:
        # Raw: the adapter may bring another mask decoder, whose own convolutions then project the finer levels.
        return encode(self.model, picture, raw_high_res=True)


def load_adapter(
    folder: str | Path, model: str | Path, *, text: str = DEFAULT_TEXT, mode: Mode = "forced", any_base: bool = False
) -> Predictor:
    """The tuned model, loaded and ready: `load_adapter("results/mine", "tiny").mask("frame.png")`.

    folder: of an exported adapter, or results with a best_adapter. The rest as `python -m tune_sa2va.predict` takes it.

    Raises:
        CheckpointError: model and adapter are not what they should be, or do not belong together.
    """
    best = Path(folder) / "best_adapter"
    adapter = best if best.is_dir() else Path(folder)
    return Predictor.open(find_tuned(str(model), adapter, any_base=any_base), text=text, mode=mode)


def predict_all(predictor: Predictor, files: Sequence[Path], output: Output) -> list[Path]:
    """Write mask and overlay of every file; gives back those for which the model wrote no [SEG]: their masks are empty.

    Raises:
        DataError: an image has changed since it was looked at.
    """
    without_seg, records = [], []
    for file in tracked(files, "predicting"):
        picture = load_image(file)
        answer = predictor.answer_to(picture)
        mask = _mask(answer.logits, picture.shape[:2], predictor.threshold)
        output.write(file, picture, mask)
        records.append(_record(file, answer, mask))
        if answer.logits is None:
            without_seg.append(file)
    output.finish(records)
    return without_seg


def _mask(logits: Float[Tensor, "H W"] | None, size: tuple[int, ...], threshold: float) -> np.ndarray:
    if logits is None:
        return np.zeros(size, dtype=bool)
    mask: np.ndarray = torch.gt(logits, logit_of(threshold)).cpu().numpy()
    return mask


def _record(file: Path, answer: Answer, mask: np.ndarray) -> dict[str, Any]:
    return {
        "mask": mask_name(file),
        "answer": answer.text,
        "wrote_seg": answer.logits is not None,
        "vessel_share": round(float(mask.mean()), 6),
    }
