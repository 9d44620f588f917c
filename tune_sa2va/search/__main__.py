"""The main job: `python -m tune_sa2va.search` tunes LoRA fine-tuning of a Sa2VA on vessel images.

Exit codes: 0 done; 1 faulty data, no trial succeeded, or some requested trials did not run; 2 wrong use; 75 paused (the
disk is full, images are gone, no remaining node can hold a lane, or the copy at --storage is incomplete); 130
interrupted by Ctrl-C, 143 by SIGTERM, 129 by SIGHUP. After 75, 130, 143 and 129, --resume continues the search.
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
    *("gpus_per_trial", "trials_per_gpu", "cache_limit_gib", "memory", "precision", "out", "name", "storage"),
)
"""Flags that --resume refuses: all trials of a search share these settings, or they could not be compared."""

CHANGED_BY_RESUME = ("trials", "confirm", "seeds")
"""Flags with which --resume extends the search."""


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
        bool, typer.Option("--allow-outside", help="Also accept images and masks outside the data set's folder.")
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
        str,
        typer.Option(
            help="Search space: a YAML file, or the name of a shipped one (smoke, lora, wide, deep). "
            "auto: deep on GPUs, wide on CPUs.",
        ),
    ] = "auto",
    trials: Annotated[
        int, typer.Option(help="Configurations to try. The first is the recipe: the settings people use by hand.")
    ] = 20,
    epochs: Annotated[int, typer.Option(help="Epochs of a trial that is not stopped early.")] = 15,
    folds: Annotated[
        str,
        typer.Option(
            help="Adapters per trial. Each is trained without one fold of the patients and scored on that fold. "
            "1: one split into train and val. auto: 1 if val has enough patients to resolve 0.005 of Dice, else 5.",
            metavar="auto|1|K",
        ),
    ] = "auto",
    grace_period: Annotated[int, typer.Option(help="Epochs before a trial may be stopped early.")] = 1,
    reduction_factor: Annotated[
        int, typer.Option(help="ASHA's reduction factor: at each rung about one trial in this many continues.")
    ] = 3,
    final: Annotated[
        str,
        typer.Option(
            help="How the winner is exported. best-run: the adapter of one training. average: the mean of its folds' "
            "adapters, as one adapter whose rank is multiplied by the number of folds. ensemble: all of them. refit: "
            "one adapter, trained again on all images outside the test part. auto: refit with folds, else best-run.",
            metavar="auto|best-run|average|ensemble|refit",
        ),
    ] = "auto",
    time_budget_min: Annotated[
        float | None,
        typer.Option(
            "--time-budget",
            help="Minutes after which all trials are stopped, but not before the first result. A resumed search gets "
            "the full budget again.",
            show_default="no limit",
        ),
    ] = None,
    confirm: Annotated[
        str,
        typer.Option(
            help="At the end, train this many of the best configurations, and the recipe, again to the last epoch with "
            "new seeds; these reruns decide the winner. 0: none. auto: none, or with --time-budget up to 3 in the time "
            "left after the trials.",
            metavar="auto|N",
        ),
    ] = "auto",
    seeds: Annotated[
        int, typer.Option(help="Reruns of each configuration with --confirm, each with its own seed.")
    ] = 2,
    sampler: Annotated[
        str, typer.Option(help="How new configurations are proposed: tpe, gp, cmaes or random.")
    ] = "tpe",
    warm_start: Annotated[
        Path | None,
        typer.Option(
            help="Results folder of an earlier search over the same fields, on the same or other data. The sampler "
            "starts with its trials, and its images keep their parts.",
            show_default=False,
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Random seed of the sampler, the split and the training.")] = 0,
    gpus: Annotated[
        int | None, typer.Option(help="GPUs to use; 0 runs on the CPU.", show_default="all of this machine")
    ] = None,
    gpus_per_trial: Annotated[int, typer.Option(help="GPUs that share one trial's batch.")] = 1,
    trials_per_gpu: Annotated[
        str,
        typer.Option(
            help="Trials that train at a time on a GPU, or in a lane of several GPUs or of CPUs. They share the base "
            "model and its steps, so that a card is used better. Each computes what it would compute alone. auto: as "
            "many as fit and may be of use, or 1 if a lane measures at its start that they are not faster.",
            metavar="auto|K",
        ),
    ] = "1",
    lanes: Annotated[
        int | None,
        typer.Option(help="Lanes on CPUs, each with its own base model.", show_default="one per core, at most 4"),
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for the results of all searches.")] = Path("results"),
    name: Annotated[
        str | None, typer.Option(help="Name of this search: results go to OUT/NAME.", show_default="date and time")
    ] = None,
    storage: Annotated[
        str | None,
        typer.Option(
            help="Keep a copy of the results at URI/NAME: s3://, gs://, hdfs:// or file:///. Nodes then need not share "
            "--out, and any machine can continue the search with --resume URI/NAME.",
            metavar="URI",
            show_default="no copy",
        ),
    ] = None,
    resume: Annotated[
        str | None,
        typer.Option(
            help="Continue the search in this results folder with its original settings. --trials N extends it to N "
            "trials in total; --confirm adds reruns of its best. The URI/NAME of a copy is fetched to OUT/NAME first.",
            metavar="FOLDER|URI",
            show_default=False,
        ),
    ] = None,
    trust: Annotated[
        bool,
        typer.Option(
            "--trust",
            help="With --resume: accept a folder that is not yours or that others can write. Resuming can run code "
            "stored in it.",
        ),
    ] = False,
    max_disk_gib: Annotated[
        float | None,
        typer.Option(
            "--max-disk", help="GiB of the results folder above which the search pauses.", show_default="no limit"
        ),
    ] = None,
    cache_limit_gib: Annotated[
        float | None,
        typer.Option(
            "--cache-limit", help="GiB that all feature caches of a node may take in total.", show_default="no limit"
        ),
    ] = None,
    memory: Annotated[
        str,
        typer.Option(
            help="What steps do to need less memory: gradient checkpointing, and with fp8 one copy of the weights. "
            "auto: no more than it takes to fit on the GPUs; fast: nothing; checkpoint: both."
        ),
    ] = "auto",
    precision: Annotated[
        str,
        typer.Option(
            help="Precision of the frozen base in training and validation. auto: bf16 on GPUs, fp32 on CPUs. fp8: the "
            "language model's linear layers in 8 bits, on Ada, Hopper and later GPUs; final scores and exports are in "
            "bf16.",
            metavar="auto|fp8",
        ),
    ] = "auto",
    address: Annotated[
        str | None, typer.Option(help="A running Ray cluster to use (HOST:PORT or auto).", show_default=False)
    ] = None,
    quiet: Annotated[
        bool, typer.Option("--quiet", help="While trials run, print only problems. The result is still printed.")
    ] = False,
    mlflow: Annotated[
        str,
        typer.Option(help="Also log to MLflow, at this tracking URI. Needs the package mlflow.", show_default="off"),
    ] = "",
    wandb: Annotated[
        str,
        typer.Option(
            help="Also log to Weights & Biases, in this project. Needs the package wandb.", show_default="off"
        ),
    ] = "",
    report: Annotated[
        bool, typer.Option("--report/--no-report", help="Write report.html at the end, and again after a resumption.")
    ] = True,
) -> None:
    """Search for the best LoRA settings of a Sa2VA on your vessel images, and export the best adapter.

    Each trial fine-tunes the model with one configuration; bad ones are stopped early (ASHA). At the end the winner,
    the recipe and the untuned model are scored once on test images that the search never saw.
    """
    if context.invoked_subcommand is not None:
        return
    from tune_sa2va.preflight.flags import Flags
    from tune_sa2va.watch.trackers import Outlets  # heavy imports are inside functions, so that --help is quick

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
    from rich.console import Console

    from tune_sa2va.data.show import print_report
    from tune_sa2va.preflight.data import examine_data, with_folds
    from tune_sa2va.preflight.lane_memory import fit_memory
    from tune_sa2va.preflight.settings import resolve_settings
    from tune_sa2va.preflight.targets import examine_targets
    from tune_sa2va.search import job

    settings = resolve_settings(flags)
    examine_targets(settings)
    terminal = Console(stderr=True)  # a thousand images and the memory of a large model take a minute
    with terminal.status("checking images"):
        report, samples = examine_data(settings)
    if report.problems or not samples:
        print_report(report, seed=settings.data.split_seed, codes=codes)
    if not samples:
        typer.echo("Nothing was started: fix the errors above first.", err=True)
        return 1
    with terminal.status("estimating memory"):
        settings = fit_memory(with_folds(settings, samples), flags.memory, report.sizes_px)
    return job.start(settings, samples, outlets)


def _resume(settings: "SearchSettings", outlets: "Outlets") -> int:
    from tune_sa2va.search import job

    return job.resume(settings, outlets)


def kept_by_resume(resume: str) -> tuple[str, ...]:
    """The flags that --resume refuses. For the URI of a copy --out is allowed: it says where the copy is fetched to."""
    from tune_sa2va.storage.place import is_uri

    return tuple(key for key in KEPT_FROM_THE_SEARCH if not (key == "out" and is_uri(resume)))


def changed_settings(
    flags: "Flags", resume: str, kept: Collection[str], changes: Mapping[str, Any], *, trust: bool
) -> "SearchSettings":
    """The settings of a search to resume, with the permitted changes applied. A copy is fetched first.

    resume: a results folder, or the URI of a copy. kept: the flags of `kept_by_resume` that were given. changes: the
    values of those of CHANGED_BY_RESUME that were given. trust: accept a folder that others could have written.

    Raises:
        UserError: `kept` is not empty, a change is not possible, or the search cannot be resumed.
    """
    from tune_sa2va.preflight.devices import devices_to_go_on
    from tune_sa2va.preflight.flags import check_numbers, parse_confirm
    from tune_sa2va.preflight.machine import check_machine_here
    from tune_sa2va.preflight.resumption import examine_results
    from tune_sa2va.preflight.trust import check_trust
    from tune_sa2va.results.settings import SearchSettings
    from tune_sa2va.storage.fetch import fetch_search
    from tune_sa2va.storage.place import is_uri

    if kept:
        raise UserError(
            f"--resume keeps the settings of the search and does not take {', '.join(kept)}. Leave that out, or start "
            "a new search."
        )
    check_numbers(flags)
    check_machine_here(flags.address)
    settings = fetch_search(resume, flags.out) if is_uri(resume) else SearchSettings.load(Path(resume))
    if not trust:
        check_trust(settings.folder)
    gpus, lanes = devices_to_go_on(settings, flags)
    examine_results(settings)
    changed: dict[str, Any] = {"address": flags.address, "max_disk_gib": flags.max_disk_gib or settings.max_disk_gib}
    changed |= {"gpus": gpus, "lanes": lanes}
    if (trials := changes.get("trials", settings.trials)) < settings.trials:
        raise UserError(
            f"--trials {trials}: the search already has {settings.trials}, and can only be extended. Ask for "
            f"{settings.trials} or more."
        )
    if (confirm := changes.get("confirm")) is not None and parse_confirm(str(confirm)) is not None:
        changed["confirm"] = int(confirm)
    if "seeds" in changes:
        changed["seeds"] = changes["seeds"]
    return settings.model_copy(update={**changed, "trials": trials})


if __name__ == "__main__":
    from tune_sa2va.cli import run

    run(app)
