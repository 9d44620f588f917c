"""The main job: `python -m tune_sa2va.search` tunes LoRA fine-tuning of a Sa2VA on vessel images.

Exit codes: 0 done, 1 faulty data or no trial succeeded, 2 wrong use, 130 interrupted (resume with --resume).
"""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tune_sa2va.errors import UserError

if TYPE_CHECKING:
    from tune_sa2va.data import Sample
    from tune_sa2va.search.preflight import Flags
    from tune_sa2va.search.settings import SearchSettings

app = typer.Typer(add_completion=False)

_KEPT_FROM_THE_SEARCH = (
    *("data", "model", "space", "trials", "epochs", "time_budget", "sampler", "seed"),
    *("gpus", "gpus_per_trial", "lanes"),
)
"""Flags that --resume does not take: a search that changes on the way is not one search."""


@app.callback(invoke_without_command=True)
def main(
    context: typer.Context,
    data: Annotated[
        str | None,
        typer.Option(
            help="Folder with images/ and masks/, or a manifest.csv, manifest.parquet or annotations.json. "
            "Without it: built-in synthetic leg angiograms.",
            show_default=False,
        ),
    ] = None,
    model: Annotated[
        str, typer.Option(help="Folder of a Sa2VA (InternVL) checkpoint, or a preset: tiny (runs on a CPU), 8b.")
    ] = "tiny",
    space: Annotated[
        str, typer.Option(help="What is searched: a YAML file, or the name of a shipped one (smoke, lora, wide).")
    ] = "lora",
    trials: Annotated[int, typer.Option(help="Configurations to try. The first is the recipe done by hand.")] = 20,
    epochs: Annotated[int, typer.Option(help="Epochs of a trial that is not stopped early.")] = 15,
    time_budget: Annotated[
        float | None, typer.Option(help="Minutes after which no trial goes on.", show_default="no limit")
    ] = None,
    sampler: Annotated[
        str, typer.Option(help="How new configurations are proposed: tpe, gp, cmaes or random.")
    ] = "tpe",
    seed: Annotated[int, typer.Option(help="Of the sampler, the split and the training.")] = 0,
    gpus: Annotated[
        int | None, typer.Option(help="GPUs to use; 0 runs on the CPU.", show_default="all of this machine")
    ] = None,
    gpus_per_trial: Annotated[int, typer.Option(help="GPUs that share one trial's batch.")] = 1,
    lanes: Annotated[
        int | None, typer.Option(help="Trials at a time on CPUs.", show_default="one a core, 4 at most")
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder of all results.")] = Path("results"),
    name: Annotated[
        str | None, typer.Option(help="Name of this search: results go to OUT/NAME.", show_default="date and time")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the search OUT/NAME, with the settings it was started with.")
    ] = False,
    address: Annotated[
        str | None, typer.Option(help="A running Ray cluster to use (HOST:PORT or auto).", show_default=False)
    ] = None,
) -> None:
    """Search for the best LoRA settings of a Sa2VA on your vessel images, and export the best adapter.

    Each trial fine-tunes the model with one configuration; bad ones are stopped early (ASHA). At the end the winner,
    the recipe and the untuned model are scored once on test images that the search never saw.
    """
    if context.invoked_subcommand is not None:
        return
    from tune_sa2va.search.preflight import Flags  # heavy imports wait, so that --help is quick

    flags = Flags(
        data=data,
        model=model,
        space=space,
        out=out,
        name=name,
        trials=trials,
        epochs=epochs,
        time_budget_s=None if time_budget is None else time_budget * 60,
        sampler=sampler,
        seed=seed,
        gpus=gpus,
        gpus_per_trial=gpus_per_trial,
        lanes=lanes,
        address=address,
    )
    if resume:
        given = [key for key in _KEPT_FROM_THE_SEARCH if _is_given(context, key)]
        raise typer.Exit(_resume(flags, given))
    raise typer.Exit(_search(flags))


def _is_given(context: typer.Context, key: str) -> bool:
    source = context.get_parameter_source(key)
    return source is not None and source.name == "COMMANDLINE"


def _search(flags: "Flags") -> int:
    from tune_sa2va.data.__main__ import print_report
    from tune_sa2va.search.preflight import examine_data, plan

    settings = plan(flags)
    report, samples = examine_data(settings)
    if report.problems or not samples:
        print_report(report)
    if not samples:
        typer.echo("Nothing was started: cure the errors above first.", err=True)
        return 1
    return _run(settings, samples)


def _resume(flags: "Flags", given: list[str]) -> int:
    from tune_sa2va.search.settings import SearchSettings

    if given:
        names = ", ".join("--" + key.replace("_", "-") for key in given)
        raise UserError(
            f"--resume keeps the settings of the search and does not take {names}. Leave out, or start anew."
        )
    if flags.name is None:
        raise UserError("--resume needs --name: the search to go on with.")
    settings = SearchSettings.load(flags.out.expanduser() / flags.name)
    return _run(settings.model_copy(update={"address": flags.address}), None)


def _run(settings: "SearchSettings", samples: "tuple[Sample, ...] | None") -> int:
    """Runs the trials on `samples`, or goes on with those of an earlier run; then exports and scores the winner."""
    from tune_sa2va.search import tuner
    from tune_sa2va.search.finish import finish
    from tune_sa2va.search.preflight import prepare
    from tune_sa2va.search.records import read_trials

    try:
        with tuner.cluster(settings):
            if samples is not None:
                prepare(settings, samples)
            typer.echo(f"Results: {settings.folder}")
            tuner.run(settings, resume=samples is None)
    except KeyboardInterrupt:
        again = shlex.join(["python", "-m", "tune_sa2va.search", "--out", str(settings.out), "--name", settings.name])
        typer.echo(
            f"Interrupted; everything up to here is in {settings.folder}. Go on with: {again} --resume", err=True
        )
        return 130
    if not any((settings.tune_folder).glob("*/checkpoint_*")):
        failures = sorted(set(read_trials(settings.folder)["failure"]) - {""})
        reason = f", first for this reason: {failures[0]}" if failures else ""
        typer.echo(
            f"No trial finished an epoch{reason}. {settings.folder / 'trials.parquet'} has all reasons.", err=True
        )
        return 1
    finish(settings.folder)
    return 0


if __name__ == "__main__":
    from tune_sa2va.cli import run

    run(app)
