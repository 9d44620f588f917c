"""The content of the page of one search: sentences, tables and figures, with all numbers from its files."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pandas as pd

from tune_sa2va.errors import DataError
from tune_sa2va.evaluate.bootstrap import Interval
from tune_sa2va.evaluate.paired import Comparison
from tune_sa2va.report.confirmation import confirmation_section
from tune_sa2va.report.figure import Figure
from tune_sa2va.report.gallery import Gallery, gallery
from tune_sa2va.report.load import Run
from tune_sa2va.report.progress_figures import lanes_by_time, learning_curves
from tune_sa2va.report.score_figures import difference_intervals, image_differences
from tune_sa2va.report.space_figures import importance_figure, lr_rank_map, parallel_rows
from tune_sa2va.report.test_images import TestImages
from tune_sa2va.report.widths import width_table
from tune_sa2va.results.records import TrialState
from tune_sa2va.results.settings import SearchSettings
from tune_sa2va.results.test_scores import DICE, MEASURES, RECIPE, UNTUNED, LockedPart, Measure
from tune_sa2va.words import count, duration, number, setting, signed

_PARTS = ("train", "val", "folds", "test")
_PATHS = ("out", "data.source", "space_file", "feature_cache", "address", "warm_start")


def report_figures(run: Run) -> list[Figure]:
    """All figures of the page."""
    return [
        difference_intervals(_compared(run)),
        image_differences(run),
        learning_curves(run),
        parallel_rows(run),
        importance_figure(run),
        lr_rank_map(run),
        lanes_by_time(run),
    ]


def report_values(run: Run, *, pictures: bool) -> dict[str, Any]:
    """The values for the template `report.html`, without the figures. pictures: whether to include test images."""
    compared = _compared(run)
    images = _test_images(run)
    return {
        "title": f"Search {run.settings.name}",
        "answer": _answer(run, compared),
        "asked": _asked(run),
        "table": None if run.locked is None else means_table(_means(run.locked)),
        "text_table": None if run.locked is None else _text_table(run.locked),
        "test_note": _test_note(run),
        "comparisons": [
            (f"The winner against the {other}", comparison_rows(own)) for other, own in compared.items() if own
        ],
        "confirmation": confirmation_section(run),
        "widths": width_table(images),
        "made": made_now(),
        "remake": f"python -m tune_sa2va.report {run.names.path(str(run.folder))}",
        "gallery": gallery(run, images)
        if pictures
        else Gallery(cases=[], missing="Left out, as asked (--no-pictures)."),
        "failures": _failures(run),
        "trials": _trials_table(run),
        "config": _config_rows(run),
        "settings": settings_rows(run),
        "environment": [(key, run.names.hide(str(value))) for key, value in flatten(run.environment).items()],
        "names": [(code, name) for code, name in run.names.by_code.items()] if run.names.show else [],
    }


def made_now() -> str:
    """The present time in UTC, as a page shows when it was made."""
    return f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC"


def _test_images(run: Run) -> TestImages | None:
    try:
        return None if run.locked is None else TestImages.of(run)
    except DataError:  # the message has file names; the page says without them that the images cannot be read
        return None


def means_table(by_model: Mapping[str, Mapping[str, Interval]]) -> dict[str, Any]:
    """The table for the macro `models`: measures, and per model a cell of mean and interval for each measure.

    by_model: model -> measure's column -> interval.
    """
    return {
        "measures": MEASURES,
        "rows": [
            (
                model,
                [(number(i.mean, m.digits), interval_text(i, m.digits)) for m in MEASURES for i in [cells[m.column]]],
            )
            for model, cells in by_model.items()
        ],
    }


def _text_table(locked: LockedPart) -> dict[str, Any] | None:
    """The same table with one row per model and text; None if all images were asked for the same text."""
    rows = {
        f"{model}, {text}{f'; absent in {own.absent_in_words}' if own.num_absent else ''}": own.means
        for model, of_texts in locked.of_texts.items()
        for text, own in of_texts.items()
    }
    return means_table(rows) if rows else None


def interval_text(interval: Interval, digits: int, *, sign: bool = False) -> str:
    """An interval such as `[0.58, 0.70]`. sign: with signs, for a difference."""
    form = signed if sign else number
    return f"[{form(interval.low, digits)}, {form(interval.high, digits)}]"


def comparison_rows(compared: Mapping[str, Comparison]) -> list[dict[str, Any]]:
    """Rows for the macro `compared`. compared: measure's column -> comparison."""
    return [_comparison_row(m, compared[m.column]) for m in MEASURES]


def _comparison_row(measure: Measure, c: Comparison) -> dict[str, Any]:
    return {
        "label": measure.label,
        "mean": signed(c.difference.mean, measure.digits),
        "interval": interval_text(c.difference, measure.digits, sign=True),
        "p": number_of_p(c.p_value),
        "images": f"{c.difference.num_values} / {c.difference.num_groups}",
        "word": str(c.word),
        "note": " *" if c.is_disputed else "",
    }


def number_of_p(p_value: float) -> str:
    """A p-value with two significant digits; a dash if there is no test."""
    return "–" if pd.isna(p_value) else f"{p_value:.2g}"


def settings_rows(run: Run) -> list[tuple[str, str]]:
    """Name and value of every setting of `search.yaml`. Of paths only the last part is shown, unless names are."""
    flat = flatten(run.settings.model_dump(mode="json"))
    return [
        (key, run.names.path(str(value)) if key in _PATHS and value else run.names.hide(setting(value)))
        for key, value in flat.items()
    ]


def flatten(nested: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    """Dotted path -> value, for all values in nested mappings."""
    flat: dict[str, Any] = {}
    for key, value in nested.items():
        if isinstance(value, dict) and value:
            flat |= flatten(value, f"{before}{key}.")
        else:
            flat[f"{before}{key}"] = value
    return flat


def _compared(run: Run) -> dict[str, dict[str, Comparison]]:
    """Other model -> measure's column -> comparison of the winner with it; empty for a model without scores."""
    return {} if run.locked is None else {other: run.locked.against(other) for other in (RECIPE, UNTUNED)}


def _answer(run: Run, compared: Mapping[str, Mapping[str, Comparison]]) -> list[str]:
    said = []
    if run.locked is not None and run.locked.verdict:
        said = [f"On the locked test part: {run.locked.verdict}"]
        said += [_numbers(other, own[DICE.column]) for other, own in compared.items() if own]
    winner = run.winner
    if winner is None:
        scored = run.scored
        if scored.empty:
            return ["No trial has finished an epoch. The failures below have the reasons."]
        best = scored.sort_values("best_val_dice").iloc[-1]
        return [f"The search has not ended: {best['label']} leads with Val Dice {best['best_val_dice']:.3f}."]
    if run.choice:
        said.insert(0, run.choice)
    elif run.winner_id == run.recipe_id:
        by = "its reruns" if run.confirmation is not None and run.confirmation.winner is not None else "its Val Dice"
        said.insert(0, f"No trial beat the recipe by {by}, so the recipe itself is exported.")
    values = ", ".join(f"{path} = {setting(winner[path])}" for path in run.settings.search_space.counting(winner))
    said.append(f"The winner is {run.winner_name}: {values}.")
    return said


def _numbers(other: str, c: Comparison) -> str:
    p = "no p" if pd.isna(c.p_value) else f"signed-rank p over groups = {number_of_p(c.p_value)}"
    odd = " Interval and test disagree, so it counts as a tie." if c.is_disputed else ""
    return (
        f"Dice of the winner minus that of the {other}: {signed(c.difference.mean)} "
        f"{interval_text(c.difference, 3, sign=True)} over {count(c.difference.num_values, 'image')} of "
        f"{count(c.difference.num_groups, 'group')}, {p}.{odd}"
    )


def _means(locked: LockedPart) -> dict[str, dict[str, Interval]]:
    """Row of the table -> means: first at Sa2VA's threshold, then at each model's own."""
    own = {f"{row} at its own {at:g}": means for row, (at, means) in locked.means_at_own.items()}
    return locked.means | own


def _asked(run: Run) -> list[str]:
    s = run.settings
    source = run.names.path(s.data.source)
    train, val, test = (f"{share:.0%}" for share in s.data.ratios)
    parts = f"{train} training, {val} validation and {test} locked test part"
    if (s.folds or 1) > 1:
        parts = (
            f"a locked test part ({test}) and {s.folds} folds of the rest: for each fold a trial trains an adapter on "
            "the others, and its Val Dice is the mean over all these images, each predicted by the adapter that was "
            "not trained on it"
        )
    states = run.trials["state"].value_counts()
    ended = ", ".join(f"{amount} {str(state).lower()}" for state, amount in states.items())
    devices = f"{count(s.gpus, 'GPU')}, {s.gpus_per_trial} per trial" if s.gpus else "the CPU"
    seats = f" of {'at most ' if s.probes_seats else ''}{s.seats} seats" if s.seats > 1 else ""
    limit = "" if s.time_budget_s is None else f" within {duration(s.time_budget_s)}"
    return [
        f"Up to {count(s.trials, 'trial')} of {count(s.epochs, 'epoch')}{limit} in {count(s.lanes, 'lane')}{seats} on "
        f"{devices}, proposed by {s.sampler} (seed {s.seed}), stopped early by ASHA on Val Dice. The first trial is "
        f"the recipe.",
        f"Base model {run.names.path(s.model.model)} in {s.model.precision}{_scored_in(s)}; data {source}, split by "
        f"group (seed {s.data.split_seed}) into {parts}.",
        f"Searched, {count(len(s.search_space.dimensions), 'field')}: "
        + "; ".join(
            f"{path} {str(d.kind).replace('_', ' ')} {', '.join(setting(v) for v in d.values)}"
            for path, d in s.search_space.dimensions.items()
        )
        + ".",
        *([] if run.inherited is None else [run.names.hide(run.inherited.words)]),
        f"Outcome: {count(len(run.trials), 'trial')} started: {ended}.",
        *_parts(run),
    ]


def _scored_in(settings: SearchSettings) -> str:
    """Tells a report's reader why validation and test scores are not of the same base after a search in fp8."""
    plain = settings.model.plain_precision
    return "" if plain == settings.model.precision else f" (scores on the test part and exports in {plain})"


def _parts(run: Run) -> list[str]:
    """Numbers of images and patients in each part, in a sentence; none if the split is not known."""
    split = run.split
    if split.empty:
        return []
    part = split["split"].where(split["fold"].isna(), "folds") if "fold" in split else split["split"]
    said = [
        f"{name}: {count(rows['image_code'].nunique(), 'image')} of {count(rows['group_code'].nunique(), 'group')}"
        for name, rows in sorted(split.groupby(part), key=lambda entry: _PARTS.index(str(entry[0])))
    ]
    return [f"The parts, by image and patient (group): {'; '.join(said)}."]


def _test_note(run: Run) -> str:
    if run.locked is None:
        return ""
    scores = run.locked.scores
    images, groups = scores["image_code"].nunique(), scores["group_code"].nunique()
    threshold = ", ".join(f"{value:g}" for value in sorted(scores["threshold"].unique()))
    texts = scores["text"].nunique()
    asked = f", asked for {texts} texts with equal weights" if texts > 1 else ""
    again = "" if run.locked.openings == 1 else " Choices made after the first time are no longer blind to it."
    return (
        f"{count(images, 'image')} of {count(groups, 'group')}, which no trial has seen; opened {run.locked.opened}."
        f"{again} Masks are on the images' own pixels, at threshold {threshold}{asked}."
    )


def _failures(run: Run) -> list[tuple[str, str]]:
    failed = run.trials[run.trials["state"] == TrialState.FAILED]
    return [
        (", ".join(rows["label"]), run.names.hide(str(reason)))
        for reason, rows in failed.groupby("failure", sort=False)
    ]


def _trials_table(run: Run) -> dict[str, Any]:
    paths = list(run.settings.search_space.dimensions)
    rows = []
    for row in run.trials.sort_values("best_val_dice", ascending=False).to_dict("records"):
        best = number(float(row["best_val_dice"])) if row["best_val_dice"] is not None else "–"
        known = [row["label"], row["trial_id"], row["state"].lower(), best, row["epochs"], duration(row["seconds"])]
        counting = set(run.settings.search_space.counting(row))
        rows.append([*known, *(setting(row[path]) if path in counting else "–" for path in paths)])
    return {"headings": ["trial", "id", "state", "Val Dice", "epochs", "time", *paths], "rows": rows}


def _config_rows(run: Run) -> list[tuple[str, str, str]]:
    recipe = run.settings.trial_config(run.settings.search_space.recipe_point()).flat()
    winner = run.winner or {}
    return [(path, setting(value), setting(winner[path]) if winner else "–") for path, value in recipe.items()]
