"""Chooses the images to score: a part of the search's own split, whose images are recognized by content."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from tune_sa2va.data import Sample
from tune_sa2va.data.known_images import KnownImages
from tune_sa2va.errors import UserError
from tune_sa2va.evaluate.tuned import Tuned
from tune_sa2va.words import count

PartName = Literal["test", "val", "train", "all"]
Label = Callable[[Sample], str]

_NAMED = 3
_NO_LIST = (
    "This export does not record which images its search used, because an older tune_sa2va wrote it. If some of these "
    "images were trained on, the scores are too high. Export the trial again."
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """The images to score.

    name: `all` if the parts are not known. note: what a reader of the scores must know; may be empty.
    out_of_fold: score each sample by the adapter of the sample's `fold` only.
    """

    name: PartName
    samples: tuple[Sample, ...]
    note: str
    out_of_fold: bool = False


def choose_part(
    samples: Sequence[Sample], tuned: Tuned | None, known: KnownImages | None, asked: PartName | None, label: Label
) -> Part:
    """The part `asked` for; by default the test part of the search, or all images if none of them is in it.

    tuned: the model's record of its search; None for a model that no search exported.
    known: the images of that search, or of the search given by --split-of; None if they are not recorded.
    label: makes the name of an image in the note.

    Raises:
        UserError: the model does not know the part that is asked for, or none of `samples` is in it.
        DataError: a file is gone.
    """
    if known is None:
        why = _NO_LIST if tuned else "no split is recorded with this model, because no search exported it."
        if asked not in (None, "all"):
            raise UserError(
                f"--part {asked}: {why} Leave it out to score all images, or give a search whose split to use: "
                "--split-of results/NAME."
            )
        return Part(name="all", samples=tuple(samples), note=why if tuned else "")
    name: PartName = asked or "test"
    if name == "val" and tuned is not None and tuned.split.folds > 1:
        return _val_of_folds(samples, tuned, known, label)
    if name == "val":
        chosen = [sample for sample in samples if known.validates(sample)]
    else:
        chosen = [sample for sample in samples if known.part_of(sample) == name]
    if name == "all" or (not chosen and asked is None):
        return Part(name="all", samples=tuple(samples), note=_note_of_all(samples, tuned, known, label))
    if not chosen:
        raise UserError(f"--part {asked}: none of these images is in it. Leave it out to score all images.")
    return Part(name=name, samples=tuple(chosen), note=_note_of_part(samples, chosen, known, name, label))


def _val_of_folds(samples: Sequence[Sample], tuned: Tuned, known: KnownImages, label: Label) -> Part:
    """The images that an adapter of the export was not trained on. Each is in one fold."""
    if tuned.final in ("average", "refit"):
        dice = tuned.metrics.val_default.dice.mean
        raise UserError(
            f"--part val: this adapter (--final {tuned.final}) has seen every image outside the test part. Its "
            f"configuration's Dice out of fold is {dice:.4f} (tune_sa2va.json). Give --part test, or an export with "
            "--final ensemble, which can be scored out of fold."
        )
    folds = {sample: known.fold_of(sample) for sample in samples}
    if not any(image.fold is not None for image in known.images):
        raise UserError("--part val: this export does not record each image's fold. Export the trial again.")
    chosen = tuple(
        replace(sample, fold=fold) for sample, fold in folds.items() if fold is not None and tuned.fold in (None, fold)
    )
    if not chosen:
        raise UserError("--part val: none of these images is in it. Leave it out to score all images.")
    if tuned.fold is not None:
        note = f"The images of fold {tuned.fold}, which this adapter was not trained on."
    else:
        note = "Each image by the one adapter of the ensemble that was not trained on it."
    redrawn = [sample for sample in chosen if not known.has_mask_of(sample)]
    if redrawn:
        note += f" Mask or text differs from the search's: {count(len(redrawn), 'image')} ({_named(redrawn, label)})."
    return Part(name="val", samples=chosen, note=note, out_of_fold=True)


def _note_of_all(samples: Sequence[Sample], tuned: Tuned | None, known: KnownImages, label: Label) -> str:
    seen = [sample for sample in samples if known.part_of(sample) in ("train", "val")]
    if seen and tuned is None:
        return f"Outside that search's test part: {len(seen)} of {count(len(samples), 'image')}."
    if seen:
        return (
            f"Trained or validated on in the search: {len(seen)} of {count(len(samples), 'image')} "
            f"({_named(seen, label)}), so the scores are too high."
        )
    if any(known.part_of(sample) for sample in samples):
        return ""
    return "The search knows none of these images by its content, so all are scored."


def _note_of_part(
    samples: Sequence[Sample], chosen: Sequence[Sample], known: KnownImages, name: PartName, label: Label
) -> str:
    sentences = []
    if unknown := [sample for sample in samples if known.part_of(sample) is None]:
        sentences.append(
            f"Left out: {count(len(unknown), 'image')} that the search does not know ({_named(unknown, label)}); "
            "--part all scores them, too."
        )
    wanted = {image.content.image_sha256 for image in known.images if image.split == name}
    absent = len(wanted) - len({sample.image for sample in chosen})
    if absent > 0:
        sentences.append(f"Not here: {absent} of the search's {len(wanted)} {name} images.")
    if redrawn := [sample for sample in chosen if not known.has_mask_of(sample)]:
        sentences.append(
            f"Mask or text differs from the search's: {count(len(redrawn), 'image')} ({_named(redrawn, label)})."
        )
    return " ".join(sentences)


def _named(samples: Sequence[Sample], label: Label) -> str:
    names = list(dict.fromkeys(label(sample) for sample in samples))
    return f"{', '.join(names[:_NAMED])}{', ...' if len(names) > _NAMED else ''}"


def validated_of(samples: Sequence[Sample], known: KnownImages) -> tuple[Sample, ...]:
    """The samples on which the search scored its trials. A threshold may be chosen on them.

    Raises:
        UserError: there are none.
        DataError: a file is gone.
    """
    validated = tuple(sample for sample in samples if known.validates(sample))
    if not validated:
        raise UserError(
            "--split-of: none of these images was validated on in that search, so no threshold can be chosen. Give "
            "--data the search's own images, or leave --split-of out to score all images at 0.5."
        )
    return validated
