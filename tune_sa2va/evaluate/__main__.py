"""Scores of a model on a data set: `python -m tune_sa2va.evaluate --model DIR --adapter DIR --data DIR`.

Exit codes: 0 done, 1 faulty data or a model that no longer writes [SEG], 2 wrong use.
"""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from tune_sa2va.data_flags import AbsentTargets, GroupBy, Labels, Outlines

if TYPE_CHECKING:
    from tune_sa2va.evaluate.part import Label, Part
    from tune_sa2va.evaluate.scores import ImageScores
    from tune_sa2va.evaluate.tuned_model import TunedModel

app = typer.Typer(add_completion=False)


@app.command()
def main(
    model: Annotated[str, typer.Option(help="Folder of a Sa2VA checkpoint, or a preset's name.")],
    data: Annotated[Path, typer.Option(help="Folder, manifest.csv, manifest.parquet or annotations.json.")],
    adapter: Annotated[
        Path | None,
        typer.Option(
            help="Folder of an exported adapter, results/NAME/best_adapter.", show_default="the base as it is"
        ),
    ] = None,
    part: Annotated[
        Literal["test", "val", "train", "all"] | None,
        typer.Option(
            help="Part of the split that the adapter was made with. val of a search with folds: every image outside "
            "the test part, by the adapter of an ensemble that was not trained on it.",
            show_default="test; all where no image is in it",
        ),
    ] = None,
    generate: Annotated[
        bool, typer.Option("--generate", help="See, too, whether the model still writes [SEG] by itself.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, with every image, in place of tables.")] = False,
    show_names: Annotated[
        bool, typer.Option("--show-names", help="Call images by their files' names, not by codes.")
    ] = False,
    any_base: Annotated[
        bool, typer.Option("--any-base", help="Take an adapter that was made for another base model.")
    ] = False,
    allow_outside: Annotated[
        bool, typer.Option("--allow-outside", help="Take images and masks outside the data set's folder, too.")
    ] = False,
    group_by: GroupBy = None,
    outlines: Outlines = None,
    labels: Labels = None,
    absent: AbsentTargets = "drop",
) -> None:
    """Score a model's masks on a data set: overlap, centre lines, distance and topology, with bootstrap intervals.

    Scores are given at 0.5 and at the threshold that was chosen on the validation part. The adapter brings along which
    image was in which part of the search, by content: images of it are known again under other names and groups.
    """
    from tune_sa2va.data import check, open_dataset  # heavy imports wait, so that --help is quick
    from tune_sa2va.data.rules import Rules
    from tune_sa2va.data.show import print_report

    rules = Rules(group_by=group_by, outlines=outlines, labels=labels, absent=absent)
    report = check(open_dataset(data, allow_outside=allow_outside, rules=rules))
    if report.errors or not report.samples:
        print_report(report, seed=0, codes=not show_names)
        raise typer.Exit(1)

    from tune_sa2va.cache.again import with_sound_features
    from tune_sa2va.data.codes import image_code
    from tune_sa2va.data.known_images import read_content
    from tune_sa2va.evaluate.part import choose_part
    from tune_sa2va.evaluate.scores import SegShare
    from tune_sa2va.evaluate.show import print_scores, to_plain
    from tune_sa2va.evaluate.threshold import DEFAULT_THRESHOLD
    from tune_sa2va.evaluate.tuned_model import find_tuned

    tuned = find_tuned(model, adapter, any_base=any_base)
    label: Label = (lambda sample: sample.name) if show_names else image_code
    known = read_content(adapter or tuned.folder) if tuned.tuned else None
    chosen = choose_part(report.samples, tuned.tuned, known, part, label)
    thresholds = tuple(dict.fromkeys((DEFAULT_THRESHOLD, tuned.threshold)))
    images = with_sound_features(lambda: _score(tuned, chosen, thresholds, str(data), label, generate=generate))
    if as_json:
        print(json.dumps(to_plain(chosen, images, thresholds), indent=2, allow_nan=False))
    else:
        print_scores(chosen, images, thresholds)
    share = SegShare.of(images)
    if share is not None and share.is_broken:
        raise typer.Exit(1)


def _score(
    tuned: "TunedModel",
    part: "Part",
    thresholds: tuple[float, ...],
    source: str,
    label: "Label",
    *,
    generate: bool,
) -> "list[ImageScores]":
    from tune_sa2va.cache.fill import fill
    from tune_sa2va.cache.place import features_folder
    from tune_sa2va.cache.progress import shown_progress
    from tune_sa2va.cache.store import FeatureCache, pictures
    from tune_sa2va.config import DataSettings
    from tune_sa2va.evaluate.examples import Examples
    from tune_sa2va.evaluate.scores import score_images
    from tune_sa2va.evaluate.tuned_model import the_device
    from tune_sa2va.model.prompt import Prompter

    device = the_device()
    model = tuned.load_base(device)
    raw = "mask_decoder" in tuned.full_modules  # its own convolutions project the finer levels
    cache = FeatureCache(features_folder(), tuned.folder, model.no_mem_embed.dtype, raw_high_res=raw)
    with shown_progress() as on_progress:
        fill(cache, model, pictures(part.samples, "none"), on_progress=on_progress)
    members = tuned.attach(model)
    prompter = Prompter(tuned.folder)
    settings = DataSettings(source=source, question=tuned.question, answer=tuned.answer)
    examples = Examples(part.samples, cache, prompter, settings, device).for_members(model, members)
    labels = [label(sample) for sample in part.samples]
    return score_images(
        model, members, examples, labels, thresholds,
        prompter=prompter if generate else None, out_of_fold=part.out_of_fold,
    )  # fmt: skip


if __name__ == "__main__":
    from tune_sa2va.cli import run

    run(app)
