"""The model card (README.md) of an export: what it is, what it was tuned on, how good it is, how to load it.

It contains no file name of the data. All text from settings or folders is escaped for Markdown and HTML.
"""

import html
from collections.abc import Mapping

from tune_sa2va.evaluate.tuned import MEASURES, FinalName, MeanScore, PartScores, Tuned, Verification
from tune_sa2va.results.test_scores import TextScores
from tune_sa2va.words import count

_USE_ADAPTER = """```python
from peft import PeftModel
model = PeftModel.from_pretrained(sa2va, "this/folder").merge_and_unload()  # sa2va: the base, loaded as usual
```

Module names are Sa2VA's own. Adapters of SAM2's memory attention, which a single image does not use, have B = 0 (or are
left out, if the export was made with --live-only).
"""
_USE_ENSEMBLE = """Each folder `fold_0`, `fold_1`, ... is an adapter in PEFT's format. `python -m tune_sa2va.predict`,
`evaluate` and `load_adapter` take this folder and average the probabilities of all of them.
"""
_WHAT: dict[FinalName, str] = {
    "best-run": "LoRA adapter for Sa2VA",
    "average": "Mean of LoRA adapters for Sa2VA",
    "refit": "LoRA adapter for Sa2VA, trained on all images outside the test part",
    "ensemble": "Ensemble of LoRA adapters for Sa2VA",
}
_USE_MERGED = """The folder has the base's layout and keys, and loads as the base does. It holds no code:
copy the `*.py` files that `auto_map` names from the base checkpoint into the folder of `config.json`.
"""


def card(tuned: Tuned, of_texts: Mapping[str, TextScores] | None = None) -> str:
    """The card's text. of_texts: text -> its own scores on the test part, if there are several texts."""
    what = "Merged Sa2VA checkpoint" if tuned.merged else _WHAT[tuned.final]
    lora, train = tuned.config.lora, tuned.config.train
    verification = tuned.verification
    return f"""# {what}: vessel segmentation

Found by tune_sa2va: trial {literal(tuned.trial)}, epoch {tuned.epoch}.{_choice(tuned)}

- Base model: {literal(tuned.base_model.id)}, SHA-256 of its files {literal(tuned.base_model.sha256)}
- Data: fingerprint {literal(tuned.data_fingerprint)}; split by group, shares {_shares(tuned)}, seed \
{tuned.split.seed}{_folds(tuned)}
- LoRA: r={lora.r}, alpha={lora.lora_alpha:g}, dropout {lora.dropout:g} on {literal(", ".join(lora.target_modules))};
  trained in full: {literal(", ".join(train.full_modules) or "none")}
- Training: {count(train.epochs, "epoch")} planned, AdamW, learning rate {tuned.config.optimizer.lr:.3g}; the whole
  configuration is in `tune_sa2va.json`
- Question: {literal(tuned.question)}; answer: {literal(tuned.answer)}
- Mask: sigmoid > {tuned.threshold:g}, chosen on the validation part; Sa2VA's own threshold is 0.5

## Scores

Means over images at their original resolution, with 95% bootstrap intervals over groups (patients).

| part | images / groups | threshold | Dice | IoU | recall | precision |
|---|---|---|---|---|---|---|
{_rows(tuned)}
{_text_rows(of_texts or {})}
{_verdict(tuned)}The validation part chose trial, epoch and threshold, so its scores are optimistic{_about_test(tuned)}.
Loaded by a fresh process ({verification.precision}, {literal(verification.device)}), the validation Dice at 0.5 is \
{verification.val_dice:.6f}; the
search recorded {verification.recorded_val_dice:.6f}{_searched_in(verification)}. \
The difference is {verification.difference:.1e} \
(at most {verification.tolerance:.0e} is allowed).

## Use in Sa2VA

{_USE_MERGED if tuned.merged else _USE_ENSEMBLE if tuned.final == "ensemble" else _USE_ADAPTER}"""


def _searched_in(verification: Verification) -> str:
    if verification.searched_in is None:
        return ""
    return f" over a base in {literal(verification.searched_in)}"


def _choice(tuned: Tuned) -> str:
    return f"\n\n{html.escape(tuned.choice)}" if tuned.choice else ""


def _folds(tuned: Tuned) -> str:
    if tuned.split.folds == 1:
        return ""
    own = "" if tuned.fold is None else f"; this adapter was not trained on fold {tuned.fold}"
    return (
        f"; {tuned.split.folds} folds of the images outside the test part{own}. Validation scores are over all these "
        "images, each predicted by the adapter that was not trained on it"
    )


def literal(text: str) -> str:
    """`text` as HTML code in which neither Markdown nor HTML is interpreted; "unknown" if it is empty."""
    plain = " ".join(text.split()).replace("`", "'").replace("|", "/")
    return f"<code>{html.escape(plain)}</code>" if plain else "unknown"


def _rows(tuned: Tuned) -> str:
    metrics = tuned.metrics
    parts = [("validation", metrics.val_default), ("validation", metrics.val_chosen)]
    if metrics.test is not None:
        parts.append(("test", metrics.test))
    if metrics.test_chosen is not None:
        parts.append(("test", metrics.test_chosen))
    return "\n".join(_row(name, scores) for name, scores in parts)


def _text_rows(of_texts: Mapping[str, TextScores]) -> str:
    """One row of the table for each text, each ending in a newline."""
    rows = []
    for text, scores in of_texts.items():
        absent = f"; absent in {scores.absent_in_words}" if scores.num_absent else ""
        cells = [_cell(MeanScore.of(scores.means[measure])) for measure in MEASURES]
        groups = scores.means[MEASURES[0]].num_groups
        rows.append(f"| test, {literal(text)}{absent} | {scores.num_images} / {groups} | | {' | '.join(cells)} |\n")
    return "".join(rows)


def _row(name: str, scores: PartScores) -> str:
    cells = [_cell(getattr(scores, measure)) for measure in MEASURES]
    groups = "unknown" if scores.num_groups is None else scores.num_groups
    return f"| {name} | {scores.num_images} / {groups} | {scores.threshold:g} | {' | '.join(cells)} |"


def _cell(measure: MeanScore) -> str:
    if measure.low is None or measure.high is None:
        return f"{measure.mean:.3f}"
    return f"{measure.mean:.3f} [{measure.low:.3f}, {measure.high:.3f}]"


def _shares(tuned: Tuned) -> str:
    return " / ".join(f"{share:g}" for share in tuned.split.ratios)


def _about_test(tuned: Tuned) -> str:
    openings = tuned.metrics.test_openings
    if tuned.metrics.test is None:
        return "; it was not scored on the locked test part"
    often = "once" if openings == 1 else f"{openings} times in all"
    return f"; the locked test part was opened {often}"


def _verdict(tuned: Tuned) -> str:
    """For the winner only: how it compares with the recipe and the untuned base."""
    verdict = tuned.metrics.test_verdict
    return f"On the locked test part: {verdict}\n\n" if verdict else ""
