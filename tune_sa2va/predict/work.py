"""Predicts images one by one: features, mask logits, mask, files."""

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
    """A loaded model with its question.

    members: its adapters, one, or several of an ensemble. Masks are averaged over them; with mode `generate`, the first
    one alone writes answer and mask. threshold: a pixel with a higher probability is vessel.
    """

    model: Sa2VA
    members: Members
    prompter: Prompter
    question: str
    answer: str
    mode: Mode
    threshold: float

    @classmethod
    def open(cls, tuned: TunedModel, *, text: str, mode: Mode, threshold: float | None = None) -> "Predictor":
        """Loads the model, on a GPU if there is one. text: what is asked for. threshold: None for the model's own."""
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
        """The mask of an image, given as a file or as its upright pixels; True where vessel is."""
        picture = image if isinstance(image, np.ndarray) else load_image(Path(image))
        return _mask(self.answer_to(picture).logits, picture.shape[:2], self.threshold)

    def answer_to(self, picture: UInt8[np.ndarray, "H W 3"]) -> Answer:
        """The answer, with mask logits in the picture's own size."""
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
        # Raw, because an adapter may bring its own mask decoder, whose convolutions project the finer levels.
        return encode(self.model, picture, raw_high_res=True)


def load_adapter(
    folder: str | Path, model: str | Path, *, text: str = DEFAULT_TEXT, mode: Mode = "forced", any_base: bool = False
) -> Predictor:
    """The tuned model, loaded and ready: `load_adapter("results/mine", "tiny").mask("frame.png")`.

    folder: an exported adapter, or a results folder with a best_adapter. model: a checkpoint folder or a preset's name.
    The other arguments are those of `python -m tune_sa2va.predict`.

    Raises:
        CheckpointError: model or adapter cannot be used, or they do not belong together.
    """
    best = Path(folder) / "best_adapter"
    adapter = best if best.is_dir() else Path(folder)
    return Predictor.open(find_tuned(str(model), adapter, any_base=any_base), text=text, mode=mode)


def predict_all(predictor: Predictor, files: Sequence[Path], output: Output) -> list[Path]:
    """Writes mask and overlay of every file. Returns the files whose masks are empty because the model wrote no [SEG].

    Raises:
        DataError: an image can no longer be read.
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
