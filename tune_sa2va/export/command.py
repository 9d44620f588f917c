"""`python -m tune_sa2va.export`: the adapter of a search's best trial, or of any trial, as files for Sa2VA.

    python -m tune_sa2va.export --run results/NAME --to best_adapter
    python -m tune_sa2va.export --run results/NAME --trial 3 --to adapter_4
    python -m tune_sa2va.export --run results/NAME --merge --to tuned_sa2va

It also works while the search is running.
"""

from pathlib import Path
from typing import Annotated

import typer

from tune_sa2va.cli import say_error
from tune_sa2va.errors import NotReproducedError, UserError
from tune_sa2va.evaluate.tuned import FinalName

app = typer.Typer(add_completion=False)


@app.command()
def main(
    run: Annotated[Path, typer.Option(help="Results folder of a search, results/NAME; it may still be running.")],
    to: Annotated[Path, typer.Option(help="Folder to write; new, empty, or an earlier export.")],
    trial: Annotated[
        str | None,
        typer.Option(
            help="A trial: 3 or 0003; a rerun: 0003-seed1.",
            show_default="what the search chose; before its end, the best by Val Dice",
        ),
    ] = None,
    final: Annotated[
        FinalName | None,
        typer.Option(
            help="Form of the export. With folds: the best fold's adapter, the folds' mean, or all folds' adapters; "
            "refit is trained again on all images.",
            show_default="the search's",
        ),
    ] = None,
    merge: Annotated[
        bool, typer.Option("--merge", help="Write a whole checkpoint with the adapter merged in, in the base's layout.")
    ] = False,
    live_only: Annotated[
        bool,
        typer.Option(
            "--live-only", help="Leave out SAM2's memory attention, which PEFT expects but no single image uses."
        ),
    ] = False,
) -> None:
    """Write a trial's adapter in PEFT's format with Sa2VA's own module names, or a merged checkpoint.

    A fresh process loads the export and scores it on the validation part. Unless the result agrees with what the search
    recorded, nothing is written (exit code 1). The best threshold on the validation part is recorded in
    tune_sa2va.json.
    """
    if merge and live_only:
        raise UserError("--live-only applies to adapters, and --merge writes none. Leave out one of the two.")

    if merge and final not in (None, "best-run"):
        raise UserError(f"--merge takes the adapter of one training, so --final {final} cannot be used. Leave it out.")

    from tune_sa2va.export.checkpoints import best_checkpoint
    from tune_sa2va.export.write import export_adapter, export_merged
    from tune_sa2va.results.settings import SearchSettings

    checkpoint = best_checkpoint(run, trial)
    try:
        if merge:
            tuned = export_merged(run, checkpoint, to)
        else:
            form = final or SearchSettings.load(run).final_form
            tuned = export_adapter(run, checkpoint, to, final=form, live_only=live_only)
    except NotReproducedError as error:
        say_error(str(error), error.anchor)
        raise typer.Exit(1) from error
    val = tuned.metrics.val_default, tuned.metrics.val_chosen
    typer.echo(
        f"{to}: trial {checkpoint.label}, validation Dice {val[0].dice.mean:.4f} at 0.5, "
        f"{val[1].dice.mean:.4f} at {tuned.threshold:g} (chosen); "
        f"verified, {tuned.verification.difference:.1e} from the search's record."
    )
