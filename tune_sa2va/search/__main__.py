"""The main job: `python -m tune_sa2va.search` tunes LoRA fine-tuning of a Sa2VA on vessel images.

Exit codes: 0 done; 1 faulty data, no trial succeeded, or trials are missing that were asked for; 2 wrong use; 75 paused
(the disk is full, images are gone, no node is left that can hold a lane, or the copy at --storage is not complete); 130
interrupted by Ctrl-C, 143 by SIGTERM, 129 by SIGHUP. After 75 and those, --resume goes on.
"""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tune_sa2va.data_flags import AbsentTargets, CodesOrNames, GroupBy, Labels, Outlines
from tune_sa2va.errors import UserError

if TYPE_CHECKING:
    from tune_sa2va.preflight.flags import Flags
    from tune_sa2va.results.settings import SearchSettings
    from tune_sa2va.watch.trackers import Outlets

app = typer.Typer(add_completion=False)

KEPT_FROM_THE_SEARCH = (
    *("data", "allow_outside", "group_by", "outlines", "labels", "absent", "model", "space", "epochs"),
    *("time_budget_min", "sampler", "warm_start", "seed", "folds", "grace_period", "reduction_factor", "final"),
    *("gpus", "gpus_per_trial", "lanes", "cache_limit_gib", "memory", "out", "name", "storage"),
)
"""Flags that --resume does not take: a search that changes on the way is not one search."""

CHANGED_BY_RESUME = ("trials", "confirm", "seeds")
"""Flags by which --resume asks for more of the same search."""


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
    allow_outside: Annotated[
        bool, typer.Option("--allow-outside", help="Take images and masks that lie outside the data set's folder, too.")
    ] = False,
    group_by: GroupBy = None,
    outlines: Outlines = None,
    labels: Labels = None,
    absent: AbsentTargets = "drop",
    codes: CodesOrNames = None,
    model: Annotated[
        str,
        typer.Option(
            help="Folder of a Sa2VA checkpoint, a hub's ORGANISATION/NAME, or a preset: tiny (runs on a CPU), 8b, ..."
        ),
    ] = "tiny",
    space: Annotated[
        str, typer.Option(help="What is searched: a YAML file, or the name of a shipped one (smoke, lora, wide, deep).")
    ] = "wide",
    trials: Annotated[int, typer.Option(help="Configurations to try. The first is the recipe done by hand.")] = 20,
    epochs: Annotated[int, typer.Option(help="Epochs of a trial that is not stopped early.")] = 15,
    folds: Annotated[
        str,
        typer.Option(
            help="Adapters that a trial trains, each without one fold of the patients, who then score it. "
            "1: one split into train and val. auto: 1 where val can tell 0.005 of Dice apart, else 5.",
            metavar="auto|1|K",
        ),
    ] = "auto",
    grace_period: Annotated[int, typer.Option(help="Epochs before a trial may be stopped early.")] = 1,
    reduction_factor: Annotated[int, typer.Option(help="Where trials are compared, the best of so many goes on.")] = 3,
    final: Annotated[
        str,
        typer.Option(
            help="What of the winner is exported. best-run: the adapter of one training. average: the mean of its "
            "folds' adapters, one adapter of so many times the rank. ensemble: all of them. refit: one trained again "
            "on all images but the test part. auto: refit with folds.",
            metavar="auto|best-run|average|ensemble|refit",
        ),
    ] = "auto",
    time_budget_min: Annotated[
        float | None,
        typer.Option(
            "--time-budget",
            help="Minutes after which no trial goes on, once there is a result; a resumed search has as many again.",
            show_default="no limit",
        ),
    ] = None,
    confirm: Annotated[
        str,
        typer.Option(
            help="At the end, run so many of the best configurations again, and the recipe with them, to the last "
            "epoch and with new seeds: these runs decide. 0: none. auto: none, but with --time-budget 3 at most in the "
            "time that trials leave.",
            metavar="auto|N",
        ),
    ] = "auto",
    seeds: Annotated[int, typer.Option(help="How often --confirm runs each of them again.")] = 2,
    sampler: Annotated[
        str, typer.Option(help="How new configurations are proposed: tpe, gp, cmaes or random.")
    ] = "tpe",
    warm_start: Annotated[
        Path | None,
        typer.Option(
            help="Results folder of an earlier search of the same fields, on these data or others: the sampler starts "
            "with what it found, and images of that search keep their part.",
            show_default=False,
        ),
    ] = None,
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
    storage: Annotated[
        str | None,
        typer.Option(
            help="Keep a copy of the results at URI/NAME, too: s3://, gs://, hdfs:// or file:///. Nodes need not share "
            "--out then, and any machine can go on by --resume URI/NAME.",
            metavar="URI",
            show_default="no copy",
        ),
    ] = None,
    resume: Annotated[
        str | None,
        typer.Option(
            help="Go on with the search in this results folder, with the settings it was started with; "
            "with --trials N, to N trials in all; with --confirm, to reruns of its best. A copy's URI/NAME is "
            "fetched to OUT/NAME first.",
            metavar="FOLDER|URI",
            show_default=False,
        ),
    ] = None,
    trust: Annotated[
        bool,
        typer.Option(
            "--trust",
            help="With --resume: go on in a folder that is not yours or that others may write: it is run as a program.",
        ),
    ] = False,
    max_disk_gib: Annotated[
        float | None,
        typer.Option(
            "--max-disk", help="GiB that the results folder may take; then the search pauses.", show_default="no limit"
        ),
    ] = None,
    cache_limit_gib: Annotated[
        float | None,
        typer.Option(
            "--cache-limit", help="GiB that all feature caches of a node may take together.", show_default="no limit"
        ),
    ] = None,
    memory: Annotated[
        str,
        typer.Option(
            help="auto: gradient checkpointing where a step would not fit on the cards otherwise; "
            "fast: never; checkpoint: always."
        ),
    ] = "auto",
    address: Annotated[
        str | None, typer.Option(help="A running Ray cluster to use (HOST:PORT or auto).", show_default=False)
    ] = None,
    quiet: Annotated[
        bool, typer.Option("--quiet", help="While trials run, print only what goes wrong. The result is printed.")
    ] = False,
    mlflow: Annotated[
        str,
        typer.Option(help="Tell MLflow, too: its tracking URI. Needs the package mlflow.", show_default="off"),
    ] = "",
    wandb: Annotated[
        str,
        typer.Option(
            help="Tell Weights & Biases, too: the project's name. Needs the package wandb.", show_default="off"
        ),
    ] = "",
    report: Annotated[
        bool, typer.Option("--report/--no-report", help="Make report.html at the end, anew after a resumption.")
    ] = True,
) -> None:
    """Search for the best LoRA settings of a Sa2VA on your vessel images, and export the best adapter.

    Each trial fine-tunes the model with one configuration; bad ones are stopped early (ASHA). At the end the winner,
    the recipe and the untuned model are scored once on test images that the search never saw.
    """
    if context.invoked_subcommand is not None:
        return
    from tune_sa2va.preflight.flags import Flags
    from tune_sa2va.watch.trackers import Outlets  # heavy imports wait, so that --help is quick

    flags = Flags.of(context.params)
    outlets = Outlets(quiet=quiet, mlflow=mlflow, wandb=wandb, report=report)
    outlets.check()
    if resume is not None:
        options = {parameter.name: parameter.opts[0] for parameter in context.command.params}
        given = [options[key] for key in kept_by_resume(resume) if _is_given(context, key)]
        changes = {key: getattr(flags, key) for key in CHANGED_BY_RESUME if _is_given(context, key)}
        raise typer.Exit(_resume(changed_settings(flags, resume, given, changes, trust=trust), outlets))
    if trust:
        raise UserError("--trust goes with --resume. Leave it out.")
    raise typer.Exit(_search(flags, outlets, codes))


def _is_given(context: typer.Context, key: str) -> bool:
    source = context.get_parameter_source(key)
    return source is not None and source.name == "COMMANDLINE"


def _search(flags: "Flags", outlets: "Outlets", codes: bool | None) -> int:
    from tune_sa2va.data.show import print_report
    from tune_sa2va.preflight.data import examine_data, with_folds
    from tune_sa2va.preflight.lane_memory import fit_memory
    from tune_sa2va.preflight.settings import resolve_settings
    from tune_sa2va.preflight.targets import examine_targets
    from tune_sa2va.search import job

    settings = resolve_settings(flags)
    examine_targets(settings)
    report, samples = examine_data(settings)
    if report.problems or not samples:
        print_report(report, seed=settings.data.split_seed, codes=codes)
    if not samples:
        typer.echo("Nothing was started: cure the errors above first.", err=True)
        return 1
    return job.start(fit_memory(with_folds(settings, samples), flags.memory, report.sizes_px), samples, outlets)


def _resume(settings: "SearchSettings", outlets: "Outlets") -> int:
    from tune_sa2va.search import job

    return job.resume(settings, outlets)


def kept_by_resume(resume: str) -> tuple[str, ...]:
    """The flags of KEPT_FROM_THE_SEARCH; less --out for a copy, which has to be fetched somewhere."""
    from tune_sa2va.storage.place import is_uri

    return tuple(key for key in KEPT_FROM_THE_SEARCH if not (key == "out" and is_uri(resume)))


def changed_settings(
    flags: "Flags", resume: str, kept: Collection[str], changes: Mapping[str, Any], *, trust: bool
) -> "SearchSettings":
    """The settings of the search that is gone on with, with what a resumption may change; a copy is fetched first.

    resume: a results folder, or the URI of a copy. kept: flags that were given and that a search keeps. changes: those
    of CHANGED_BY_RESUME that were given. trust: take a folder that others could have written.

    Raises:
        UserError: there are such flags, a change is none that can be, or the search cannot go on.
    """
    from tune_sa2va.preflight.flags import check_numbers, parse_confirm
    from tune_sa2va.preflight.machine import check_machine_here
    from tune_sa2va.preflight.resumption import examine_results
    from tune_sa2va.preflight.trust import check_trust
    from tune_sa2va.results.settings import SearchSettings
    from tune_sa2va.storage.fetch import fetch_search
    from tune_sa2va.storage.place import is_uri

    if kept:
        raise UserError(
            f"--resume keeps the settings of the search and does not take {', '.join(kept)}. Leave out, or start anew."
        )
    check_numbers(flags)
    check_machine_here(flags.address)
    settings = fetch_search(resume, flags.out) if is_uri(resume) else SearchSettings.load(Path(resume))
    if not trust:
        check_trust(settings.folder)
    examine_results(settings)
    changed: dict[str, Any] = {"address": flags.address, "max_disk_gib": flags.max_disk_gib or settings.max_disk_gib}
    if (trials := changes.get("trials", settings.trials)) < settings.trials:
        raise UserError(f"--trials {trials}: the search was asked for {settings.trials}; it can only be extended.")
    if (confirm := changes.get("confirm")) is not None and parse_confirm(str(confirm)) is not None:
        changed["confirm"] = int(confirm)
    if "seeds" in changes:
        changed["seeds"] = changes["seeds"]
    return settings.model_copy(update={**changed, "trials": trials})


if __name__ == "__main__":
    from tune_sa2va.cli import run

    run(app)
