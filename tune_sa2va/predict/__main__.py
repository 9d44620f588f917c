"""Predicts masks of images.

`python -m tune_sa2va.predict --model DIR --adapter results/NAME/best_adapter IMAGES --to DIR`

Exit codes: 0 done, 1 an image cannot be used (nothing was written), 2 wrong use.
"""

from pathlib import Path
from typing import Annotated, Literal

import typer

from tune_sa2va.errors import UserError
from tune_sa2va.printable import printable
from tune_sa2va.words import count

app = typer.Typer(add_completion=False)


@app.command()
def main(
    images: Annotated[list[Path], typer.Argument(metavar="IMAGES...", help="Image files, or folders of them.")],
    to: Annotated[Path, typer.Option(help="Folder to write to; new, empty, or written by an earlier call.")],
    model: Annotated[str, typer.Option(help="Folder of a Sa2VA checkpoint, or a preset's name.")],
    adapter: Annotated[
        Path | None,
        typer.Option(
            help="Folder of an exported adapter, such as results/NAME/best_adapter.", show_default="the untuned base"
        ),
    ] = None,
    mode: Annotated[
        Literal["forced", "generate"],
        typer.Option(
            help="forced: the model is given its answer, as in training. generate: it writes the answer, as in chat."
        ),
    ] = "forced",
    text: Annotated[str, typer.Option(help="What to look for; it goes into the adapter's question.")] = "blood vessel",
    threshold: Annotated[
        float | None,
        typer.Option(
            help="A pixel with a higher probability is vessel; above 0 and below 1.",
            show_default="the adapter's, else 0.5",
        ),
    ] = None,
    any_base: Annotated[
        bool, typer.Option("--any-base", help="Accept an adapter that was made for another base model.")
    ] = False,
) -> None:
    """Write a mask (PNG, 0 or 255) and an overlay of each image, in its own size, to TO/masks and TO/overlays.

    Question and threshold come from the adapter unless given. TO/predictions.json records how the masks were made.
    """
    if threshold is not None and not 0 < threshold < 1:
        raise UserError(f"--threshold must be above 0 and below 1, got {threshold:g}.")
    if not text.strip():
        raise UserError('--text must say what to look for, for example "blood vessel".')

    from tune_sa2va.predict.output import Output, check_place
    from tune_sa2va.predict.pictures import find_pictures

    check_place(to)
    pictures = find_pictures(images)
    if pictures.faults:
        for fault in pictures.faults:
            typer.echo(f"error: {printable(fault)}", err=True)
        typer.echo("Nothing was written. Correct the errors above first.", err=True)
        raise typer.Exit(1)

    from tune_sa2va.evaluate.tuned_model import find_tuned  # imports torch; faults above are found without it
    from tune_sa2va.predict.work import Predictor, predict_all

    tuned = find_tuned(model, adapter, any_base=any_base)
    predictor = Predictor.open(tuned, text=text, mode=mode, threshold=threshold)
    about = {
        "model": model,
        "adapter": None if adapter is None else str(adapter),
        "mode": mode,
        "question": predictor.question,
        "threshold": predictor.threshold,
    }
    output = Output.open(to, about, pictures.files)
    without_seg = predict_all(predictor, pictures.files, output)
    for file in without_seg:
        typer.echo(f"warning: {printable(str(file))}: the model wrote no [SEG], so its mask is empty.", err=True)
    said = f", {len(without_seg)} of them empty because no [SEG] was written" if without_seg else ""
    typer.echo(
        f"{to}: masks and overlays of {count(len(pictures.files), 'image')} at threshold {predictor.threshold:g}{said}."
    )


if __name__ == "__main__":
    from tune_sa2va.cli import run

    run(app)
