"""Scores of a model on a data set: `python -m tune_sa2va.evaluate --model DIR --adapter DIR --data DIR`.

Exit codes: 0 done, 1 faulty data or a model that no longer writes [SEG], 2 wrong use.
"""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from tune_sa2va.data_flags import AbsentTargets, GroupBy, Labels, Outlines
from tune_sa2va.errors import UserError

if TYPE_CHECKING:
    from tune_sa2va.data.known_images import KnownImages
    from tune_sa2va.evaluate.part import Label
    from tune_sa2va.evaluate.tuned_model import TunedModel

app = typer.Typer(add_completion=False)


@app.command()
def main(
    model: Annotated[str, typer.Option(help="Folder of a Sa2VA checkpoint, or a preset's name.")],
    data: Annotated[Path, typer.Option(help="Folder, manifest.csv, manifest.parquet or annotations.json.")],
    adapter: Annotated[
        Path | None,
        typer.Option(help="Folder of an exported adapter, results/NAME/best_adapter.", show_default="the untuned base"),
    ] = None,
    part: Annotated[
        Literal["test", "val", "train", "all"] | None,
        typer.Option(
            help="Part of the split of the adapter's search. For a search with folds, val is every image outside the "
            "test part, each predicted by the ensemble's adapter that was not trained on it.",
            show_default="test; all if no image is in it",
        ),
    ] = None,
    split_of: Annotated[
        Path | None,
        typer.Option(
            help="For an untuned base, which has no split of its own: a search's results folder, or an adapter that it "
            "exported. The base is scored on that search's test part, and its threshold is chosen on the images that "
            "the search validated on."
        ),
    ] = None,
    generate: Annotated[
        bool, typer.Option("--generate", help="Also check whether the model still writes [SEG] by itself.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON with every image, not tables.")] = False,
    show_names: Annotated[
        bool, typer.Option("--show-names", help="Show file names, which may name patients, not codes.")
    ] = False,
    any_base: Annotated[
        bool, typer.Option("--any-base", help="Accept an adapter that was made for another base model.")
    ] = False,
    allow_outside: Annotated[
        bool, typer.Option("--allow-outside", help="Also accept images and masks outside the data set's folder.")
    ] = False,
    group_by: GroupBy = None,
    outlines: Outlines = None,
    labels: Labels = None,
    absent: AbsentTargets = "drop",
) -> None:
    """Score a model's masks on a data set: overlap, centre lines, distance and topology, with bootstrap intervals.

    Scores are given at 0.5 and at the threshold that was chosen on the validation part. The adapter's folder records
    which image was in which part of the search, by content, so images are recognized under other names and groups. To
    compare with the untuned base, leave --adapter out and give --split-of.
    """
    from tune_sa2va.data import check, open_dataset  # heavy imports are deferred to keep --help fast
    from tune_sa2va.data.rules import Rules
    from tune_sa2va.data.show import print_report

    rules = Rules(group_by=group_by, outlines=outlines, labels=labels, absent=absent)
    report = check(open_dataset(data, allow_outside=allow_outside, rules=rules))
    if report.errors or not report.samples:
        print_report(report, seed=0, codes=not show_names)
        raise typer.Exit(1)

    from tune_sa2va.cache.again import with_sound_features
    from tune_sa2va.data.codes import image_code
    from tune_sa2va.evaluate.part import choose_part, validated_of
    from tune_sa2va.evaluate.scores import SegShare
    from tune_sa2va.evaluate.show import print_scores, to_plain
    from tune_sa2va.evaluate.tuned_model import find_tuned
    from tune_sa2va.evaluate.work import evaluate

    tuned = find_tuned(model, adapter, any_base=any_base)
    label: Label = (lambda sample: sample.name) if show_names else image_code
    known = _images_of_the_search(tuned, adapter, split_of)
    part_of_data = choose_part(report.samples, tuned.tuned, known, part, label)
    validated = validated_of(report.samples, known) if split_of and known else ()
    done = with_sound_features(
        lambda: evaluate(tuned, part_of_data, validated, source=str(data), label=label, generate=generate)
    )
    if as_json:
        print(json.dumps(to_plain(part_of_data, done.images, done.thresholds), indent=2, allow_nan=False))
    else:
        print_scores(part_of_data, done.images, done.thresholds, chosen_on=len(validated))
    share = SegShare.of(done.images)
    if share is not None and share.is_broken:
        raise typer.Exit(1)


def _images_of_the_search(tuned: "TunedModel", adapter: Path | None, split_of: Path | None) -> "KnownImages | None":
    """The images of the search that the model or `--split-of` comes from; None if there is none."""
    from tune_sa2va.data.known_images import CONTENT_FILE, read_content

    if split_of is None:
        return read_content(adapter or tuned.folder) if tuned.tuned else None
    if tuned.tuned:
        raise UserError(
            f"--split-of {split_of}: this model brings the parts of its own search along. Leave the flag out."
        )
    known = read_content(split_of)
    if known is None:
        raise UserError(
            f"--split-of {split_of}: must be a search's results folder, or an adapter that a search exported, but it "
            f"has no {CONTENT_FILE}."
        )
    return known


if __name__ == "__main__":
    from tune_sa2va.cli import run

    run(app)
