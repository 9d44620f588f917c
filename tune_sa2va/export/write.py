"""Writes an export beside its place, has a fresh process score it, and moves it into place if the score is right."""

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tune_sa2va.config import Precision
from tune_sa2va.data.known_images import CONTENT_FILE
from tune_sa2va.data.split_file import read_names, scored_rows
from tune_sa2va.durable import publish_folder
from tune_sa2va.errors import NotReproducedError, UserError
from tune_sa2va.evaluate.bootstrap import mean_interval
from tune_sa2va.evaluate.metrics import Counts, mean_scores
from tune_sa2va.evaluate.threshold import DEFAULT_THRESHOLD
from tune_sa2va.evaluate.tuned import (
    MEASURES,
    TUNED_FILE,
    BaseModelName,
    FinalName,
    MeanScore,
    Metrics,
    PartScores,
    SplitRule,
    Tuned,
    Verification,
    ensemble_folder,
)
from tune_sa2va.export.card import card
from tune_sa2va.export.checkpoints import TrialCheckpoint
from tune_sa2va.export.final import best_fold, write_final
from tune_sa2va.export.verify import TOLERANCES, FreshScores, Proof, Verify, verify
from tune_sa2va.results.environment import Environment, read_environment
from tune_sa2va.results.settings import SearchSettings
from tune_sa2va.results.test_scores import WINNER, TextScores, read_locked_part

_MERGED_TOLERANCE = 5e-3
"""Allowed difference of a merged checkpoint's validation Dice, or the search's own (`verify.TOLERANCES`) if that is
larger. Merged weights are rounded to the dtype in which the base is stored, most often bf16."""


def export_adapter(
    run: Path,
    checkpoint: TrialCheckpoint,
    to: Path,
    *,
    final: FinalName = "best-run",
    choice: str = "",
    live_only: bool = False,
    verify: Verify = verify,
) -> Tuned:
    """Writes the adapter, `tune_sa2va.json` and a model card to `to`. It appears complete and verified, or not at all.

    final: form of the export. choice: why this trial was chosen, in words; may be empty.
    live_only: leave out the memory attention's modules, which a single image does not use.
    verify: scores the export, on this machine or another.

    Raises:
        UserError: `to` has other files, or the checkpoint, the base model or the data cannot be used.
        NotReproducedError: loaded by a fresh process, the adapter's score is not what the search recorded.
    """
    settings, environment = SearchSettings.load(run), read_environment(run)
    unfinished = _start(to)
    try:
        write_final(checkpoint, final, unfinished)
        if live_only:
            from tune_sa2va.model.adapter import drop_memory_attention

            for config in unfinished.rglob("adapter_config.json"):
                drop_memory_attention(config.parent)
        fold = best_fold(checkpoint) if final == "best-run" else None
        form = _Form(final=final, fold=fold, choice=choice)
        return _finish(run, checkpoint, unfinished, to, settings, environment, form, verify=verify)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def export_merged(run: Path, checkpoint: TrialCheckpoint, to: Path) -> Tuned:
    """Writes a whole checkpoint with the adapter merged in, in the base's layout; otherwise like `export_adapter`.

    Raises:
        UserError: as `export_adapter`, or the base is a preset without weights.
        NotReproducedError: as `export_adapter`.
    """
    from tune_sa2va.export.merge import merge
    from tune_sa2va.model.locate import model_folder

    settings, environment = SearchSettings.load(run), read_environment(run)
    unfinished = _start(to)
    try:
        adapter = unfinished / "adapter"
        adapter.mkdir()
        form = _Form(merged=True, fold=best_fold(checkpoint))
        write_final(checkpoint, "best-run", adapter)
        merge(model_folder(settings.model.model), adapter, unfinished)
        shutil.rmtree(adapter)
        return _finish(run, checkpoint, unfinished, to, settings, environment, form, verify=verify)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Form:
    """What was written, and why. fold: the fold whose adapter it is; None if it is not one fold's."""

    merged: bool = False
    choice: str = ""
    final: FinalName = "best-run"
    fold: int | None = None


def _start(to: Path) -> Path:
    """Makes a new folder beside `to`, on the same disk."""
    if to.exists() and (not to.is_dir() or (any(to.iterdir()) and not (to / TUNED_FILE).exists())):
        raise UserError(f"--to {to}: holds other files. Give a new or an empty folder.")
    unfinished = to.with_name(f".{to.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    return unfinished


def _finish(
    run: Path,
    checkpoint: TrialCheckpoint,
    unfinished: Path,
    to: Path,
    settings: SearchSettings,
    environment: Environment,
    form: _Form,
    *,
    verify: Verify,
) -> Tuned:
    proof = _proof(checkpoint, form, unfinished)
    fresh = verify(run, unfinished, proof)
    data = settings.data
    rows = [r for r in scored_rows(read_names(run)) if proof.only_fold is None or r["fold"] == proof.only_fold]
    images, groups, texts = ([row[name] for row in rows] for name in ("image_code", "group_code", "text"))
    tuned = Tuned(
        trial=checkpoint.trial_id,
        epoch=checkpoint.epoch,
        merged=form.merged,
        final=form.final,
        fold=form.fold if checkpoint.folds > 1 else None,
        base_model=BaseModelName(id=Path(environment.base_model.id).name, sha256=environment.base_model.sha256),
        data_fingerprint=environment.data_fingerprint,
        split=SplitRule(ratios=data.ratios, seed=data.split_seed, folds=checkpoint.folds),
        question=data.question,
        answer=data.answer,
        threshold=fresh.threshold,
        metrics=Metrics(
            val_default=_part([Counts(*row) for row in fresh.default_counts], images, groups, texts, DEFAULT_THRESHOLD),
            val_chosen=_part([Counts(*row) for row in fresh.chosen_counts], images, groups, texts, fresh.threshold),
            **_test_scores(run, checkpoint.label_of(form.final)),
        ),
        verification=_verify(checkpoint, fresh, texts, to, proof, settings.model.precision),
        config=checkpoint.config,
        choice=form.choice,
    )
    (unfinished / TUNED_FILE).write_text(tuned.to_json(), encoding="utf-8")
    (unfinished / "README.md").write_text(
        card(tuned, _test_of_texts(run, checkpoint.label_of(form.final))), encoding="utf-8"
    )
    if (run / CONTENT_FILE).exists():
        shutil.copyfile(run / CONTENT_FILE, unfinished / CONTENT_FILE)  # so that `evaluate` recognizes the images
    publish_folder(unfinished, to)
    return tuned


def _proof(checkpoint: TrialCheckpoint, form: _Form, export: Path) -> Proof:
    """How to verify this export. Adapters of folds are taken from the export if it has them, otherwise from the
    checkpoint."""
    own = [checkpoint.adapter(fold) for fold in range(checkpoint.folds)]
    if form.final == "refit":
        on_all = json.loads((checkpoint.refit_folder / "state.json").read_text(encoding="utf-8"))["progress"][
            "val_dice"
        ]
        return Proof(members=tuple(own), dice_on_all=on_all)
    if checkpoint.folds == 1:
        return Proof(merged=form.merged)
    if form.merged:  # its weights are rounded to the base's dtype, so it must predict its own fold
        return Proof(merged=True, only_fold=form.fold)
    if form.fold is not None:
        own[form.fold] = export
    if form.final == "ensemble":
        own = [ensemble_folder(export, fold) for fold in range(checkpoint.folds)]
    return Proof(members=tuple(own), is_mean=form.final == "average")


def _verify(
    checkpoint: TrialCheckpoint,
    fresh: FreshScores,
    texts: Sequence[str],
    to: Path,
    proof: Proof,
    searched_in: Precision,
) -> Verification:
    recorded = checkpoint.val_dice if proof.only_fold is None else checkpoint.fold_dice(proof.only_fold)
    found = mean_scores([Counts(*row) for row in fresh.default_counts], texts).dice
    verification = Verification(
        recorded_val_dice=recorded,
        val_dice=found,
        difference=abs(found - recorded),
        tolerance=max(_MERGED_TOLERANCE if proof.merged else 0.0, TOLERANCES[searched_in]),
        precision=fresh.precision,
        device=fresh.device,
        searched_in=searched_in if searched_in != fresh.precision else None,
    )
    if not verification.difference <= verification.tolerance:  # NaN is not
        raise NotReproducedError(
            f"{to}: not written. Loaded by a fresh process, trial {checkpoint.label} has a validation Dice of "
            f"{found:.6f}, but the search recorded {recorded:.6f}{_in(verification.searched_in)}; they may differ by "
            f"at most {verification.tolerance:.0e} ({fresh.precision}, {fresh.device}). Check that the base model and "
            "the images are those of the search."
        )
    return verification


def _in(precision: Precision | None) -> str:
    return "" if precision is None else f" in {precision}"


def _test_scores(run: Path, label: str) -> dict[str, Any]:
    """Fields of `Metrics` for the test part; no scores if the search has not scored this very model on it."""
    locked = read_locked_part(run)
    if locked is None:
        return {}
    own = locked.scores[locked.scores["checkpoint"] == label]
    found: dict[str, Any] = {"test_openings": locked.openings}
    if own.empty:
        return found
    rows = own[own["row"] == own["row"].iloc[-1]]  # recipe and winner may be the same model; the winner's come last
    found["test"] = _test_rows(rows)
    at_own = locked.own[(locked.own["checkpoint"] == label) & (locked.own["row"] == rows["row"].iloc[0])]
    if not at_own.empty:
        found["test_chosen"] = _test_rows(at_own)
    return found | ({"test_verdict": locked.verdict} if rows["row"].iloc[0] == WINNER else {})


def _test_rows(rows: Any) -> PartScores:
    """Scores of the rows of one model at one threshold."""
    counts = [Counts(*row) for row in rows[["tp", "fp", "fn", "tn"]].itertuples(index=False, name=None)]
    images, groups, texts = (rows[name].tolist() for name in ("image_code", "group_code", "text"))
    return _part(counts, images, groups, texts, float(rows["threshold"].iloc[0]))


def _test_of_texts(run: Path, label: str) -> dict[str, TextScores]:
    """Scores of this very model on the test part by text; empty if all images were asked for the same."""
    locked = read_locked_part(run)
    rows = [] if locked is None else locked.scores[locked.scores["checkpoint"] == label]["row"].tolist()
    return locked.of_texts.get(rows[-1], {}) if locked is not None and rows else {}


def _part(
    counts: Sequence[Counts], images: Sequence[str], groups: Sequence[str], texts: Sequence[str], threshold: float
) -> PartScores:
    """Scores of a part. images, groups, texts: of each element of `counts`; an image has one count per text."""
    measures = {
        name: MeanScore.of(mean_interval([getattr(image, name) for image in counts], groups, texts))
        for name in MEASURES
    }
    return PartScores(num_images=len(set(images)), num_groups=len(set(groups)), threshold=threshold, **measures)
