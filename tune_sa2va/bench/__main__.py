"""`python -m tune_sa2va.bench step|cache|turnaround|memory|search|adds-up`: how fast training and searches are.

These commands need no data set: images and features are made up. The numbers go to a JSON file and a table.
`record` trains many configurations on a data set and keeps every image's counts; `replay` simulates searches on them.
`final` scores the forms in which a search with folds can export its winner. `study` compares whole searches with the
recipe, over several seeds. `precision` compares a base in fp8 with one in bf16.
"""

import json
import time
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from tune_sa2va.cli import run
from tune_sa2va.config import RECIPE
from tune_sa2va.errors import UserError

app = typer.Typer(no_args_is_help=True, help=__doc__)

Model = Annotated[str, typer.Option(help="The name of a preset, or a checkpoint folder; 8b has random weights.")]
Out = Annotated[Path, typer.Option(help="Folder for the JSON file.")]
BasePrecision = Annotated[Literal["auto", "fp8"], typer.Option(help="auto: bf16 on a GPU, fp32 on a CPU.")]
Cap = Annotated[float, typer.Option(help="GiB of the card that this process may use; 0: all of it.")]


@app.command()
def step(
    model: Model = "tiny",
    out: Out = Path("bench"),
    precision: BasePrecision = "auto",
    fp8_copies: Annotated[
        int, typer.Option(min=1, max=2, help="With fp8: 1 keeps no transposed copy of the weights.")
    ] = 2,
    cap_gib: Cap = 0.0,
    size: Annotated[list[int], typer.Option(help="Side of the square images in pixels; may be repeated.")] = [512],  # noqa: B006
    rank: Annotated[int, typer.Option(help="Rank of the adapters.")] = 64,
    max_rank: Annotated[int, typer.Option(help="Rank for which the adapters' memory is laid out.")] = 128,
    images: Annotated[int, typer.Option(help="Training images per epoch; a quarter as many are validated.")] = 64,
    seats: Annotated[list[int], typer.Option(min=1, help="Trials that share the steps; may be repeated.")] = [1],  # noqa: B006
    dropout: Annotated[float, typer.Option(help="Dropout of the adapters.")] = 0.0,
    checkpoint: Annotated[bool, typer.Option(help="Compute activations again in the backward pass.")] = False,
    fields: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="FIELD=VALUE", help="A field of the trial, for example encoder.sam2=all."),
    ] = None,
    curves: Annotated[bool, typer.Option(help="Also compare the losses of 50 captured steps with eager ones.")] = False,
    profile: Annotated[
        bool, typer.Option(help="Also write the kernels of a step to a JSON file for each case.")
    ] = False,
) -> None:
    """Time training and validation with the loop that lanes run: it/s, ms by part, TFLOP/s, peak GiB.

    it/s are image-steps a second, summed over seats.
    """
    from tune_sa2va.bench import step as steps
    from tune_sa2va.bench.kernels import ms_by_kind
    from tune_sa2va.bench.report import write_json

    chosen = _fields(fields or [])
    config = RECIPE.replace(dict(chosen))
    bench = _open(
        model, cap_gib, precision, fp8_copies=fp8_copies, runs_sam2=config.runs_sam2, runs_vision=config.runs_vision
    )
    cases = [
        steps.Case(
            height=side, width=side, r=rank, max_rank=max(rank, max_rank), train_images=images,
            val_images=max(1, images // 4), seats=num, dropout=dropout, checkpointed=checkpoint, fields=chosen,
        )
        for side in size
        for num in seats
    ]  # fmt: skip
    rows = []
    for case in cases:
        rows.append(steps.measure(bench, case) | {"ms": steps.parts(bench, case)})
        if curves:
            rows[-1]["loss"] = steps.loss_curves(bench, case)
        if profile:
            kernels = steps.profile(bench, case)
            rows[-1]["kernels_ms"] = ms_by_kind(kernels)
            write_json(
                out / f"kernels_{case.height}_{case.seats}.json", {"kernels": [asdict(kernel) for kernel in kernels]}
            )
    _report(
        "step", bench, out, rows,
        ("height", "tokens", "r", "max_rank", "seats", "it_per_s", "tflops", "share_of_ceiling",
         "val_244_over_train_976", "reserved_gib", "estimate_gib", "graphs"),
    )  # fmt: skip


@app.command()
def cache(
    model: Model = "tiny",
    size: Annotated[int, typer.Option(help="Side of the square images in pixels.")] = 512,
    images: Annotated[int, typer.Option(min=1, help="Images of noise to encode.")] = 32,
    batch_size: Annotated[list[int], typer.Option(help="Pictures per batch; may be repeated.")] = [1, 8],  # noqa: B006
    raw: Annotated[bool, typer.Option(help="Features before conv_s0/conv_s1, for decoders trained in full.")] = False,
) -> None:
    """Time the feature cache: images encoded per second, MiB per image, cold and warm reading. Prints JSON."""
    import json

    import torch

    from tune_sa2va.bench.cache import bench_cache

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    found = bench_cache(model, side_px=size, images=images, batch_sizes=batch_size, device=device, raw_high_res=raw)
    print(json.dumps(found, indent=2))


@app.command()
def turnaround(
    model: Model = "tiny",
    out: Out = Path("bench"),
    precision: BasePrecision = "auto",
    cap_gib: Cap = 0.0,
    size: Annotated[int, typer.Option(help="Side of the square images in pixels.")] = 512,
    rank: Annotated[list[int], typer.Option(help="Ranks of the trials, in order.")] = [64, 8, 128],  # noqa: B006
    seats: Annotated[
        list[int], typer.Option(min=1, help="Trials that share the steps, all but one of them throughout; repeatable.")
    ] = [1],  # noqa: B006
) -> None:
    """Time the seconds from the end of one trial to the end of the next one's first step, in one seat of one lane."""
    from tune_sa2va.bench import step as steps

    bench = _open(model, cap_gib, precision)
    rows = []
    for num in seats:
        case = steps.Case(
            height=size, width=size, r=rank[0], max_rank=max(rank), train_images=1, val_images=8, seats=num
        )
        rows += steps.turnarounds(bench, case, tuple(rank))
    _report("turnaround", bench, out, rows, ("seats", "r", "open_s", "first_step_s", "turnaround_s"))


@app.command()
def memory(
    model: Model = "tiny",
    out: Out = Path("bench"),
    size: Annotated[list[int], typer.Option(help="Side of the square images; may be repeated.")] = [512, 1024, 768],  # noqa: B006
    rank: Annotated[list[int], typer.Option(help="Rank of the adapters; may be repeated.")] = [64, 8, 128],  # noqa: B006
    limit_s: Annotated[float, typer.Option(help="Seconds after which no new case begins.")] = 240.0,
) -> None:
    """Compare the memory estimate of `inspect` and `plan` with peaks of real trials. The file grows with each case."""
    from tune_sa2va.bench.memory import memories

    bench = _open(model, 0.0)
    rows: list[dict[str, Any]] = []
    for row in memories(bench, size, rank, limit_s=limit_s):
        rows.append(row)
        _write("memory", bench, out, rows)
    _report(
        "memory", bench, out, rows,
        ("side_px", "tiles", "r", *(f"{what}_{n}" for what in ("step", "card")
                                    for n in ("estimate_gib", "measured_gib", "difference_percent"))),
    )  # fmt: skip
    if bench.device.type != "cuda":
        print("no GPU here: the trials ran, but nothing was measured")
    if len(rows) < len(size) * len(rank):
        print(f"stopped by --limit-s: {len(size) * len(rank) - len(rows)} cases were not measured")


@app.command()
def search(
    model: Model = "tiny",
    out: Out = Path("bench"),
    trials: Annotated[int, typer.Option(help="Trials of the search.")] = 32,
    epochs: Annotated[int, typer.Option(help="Most epochs of a trial.")] = 15,
    data: Annotated[str, typer.Option(help="As --data of a search.", show_default="built-in images")] = "",
    gpus: Annotated[int, typer.Option(help="As --gpus of a search; a lane each.")] = 0,
    lanes: Annotated[int, typer.Option(help="Without GPUs: lanes on the CPU.")] = 2,
    trials_per_gpu: Annotated[int, typer.Option(help="As --trials-per-gpu of a search: seats of a lane.")] = 1,
    run: Annotated[Path | None, typer.Option(help="Analyse this results folder instead of running a search.")] = None,
    parts: Annotated[Path | None, typer.Option(help="Folder of bench JSON from which to predict the search.")] = None,
    size: Annotated[int, typer.Option(help="Side of the images in --parts, in pixels.")] = 512,
) -> None:
    """Run a search: how each lane, or each seat of a lane, spends its time from its first step on, and predicted
    against measured time."""
    from tune_sa2va.bench.lane_split import PARTS
    from tune_sa2va.bench.report import show, write_json
    from tune_sa2va.bench.search import account, run_search

    whole: dict[str, Any] = {}
    if run is None:
        where = ["--gpus", str(gpus)] if gpus else ["--gpus", "0", "--lanes", str(lanes)]
        where += ["--trials-per-gpu", str(trials_per_gpu)]
        what = ["--model", model, "--trials", str(trials), "--epochs", str(epochs), *(["--data", data] if data else [])]
        run = out / f"search-{time.strftime('%Y%m%d-%H%M%S')}"
        whole = run_search(run.parent, run.name, [*what, *where])
    found = account(run, parts, size)
    write_json(out / "search.json", {"folder": str(run), **whole, **found})
    show(f"search: seconds of lanes in {run}", found["lanes"], ("lane", "trials", "epochs", *PARTS, "work_share"))
    show(
        "predicted against measured, first step to last epoch", found["predicted"],
        ("from", "seconds", "low_s", "high_s", "measured_s", "difference_percent"),
    )  # fmt: skip
    if whole:
        print(
            f"{whole['wall_s']:.0f} s in all; load {whole['load_before']:.1f} before, {whole['load_after']:.1f} after"
        )
    print(f"written to {out / 'search.json'}")


@app.command("adds-up")
def adds_up(
    parts: Annotated[
        Path,
        typer.Argument(help="Folder with step*.json, turnaround*.json and maybe search*.json of one kind of card."),
    ],
    out: Out = Path("bench"),
    size: Annotated[int, typer.Option(help="Side of the images in pixels.")] = 512,
    trials: Annotated[int, typer.Option(help="Trials of the search.")] = 32,
    epochs: Annotated[int, typer.Option(help="Most epochs of a trial.")] = 15,
    train_images: Annotated[int, typer.Option(help="Training images.")] = 976,
    val_images: Annotated[int, typer.Option(help="Validation images.")] = 244,
    lanes: Annotated[list[int], typer.Option(help="GPUs; may be repeated.")] = [1, 4, 8],  # noqa: B006
    seats: Annotated[int, typer.Option(min=1, help="Trials that share a GPU; parts must have as many.")] = 1,
    precision: Annotated[
        Literal["auto", "fp8"], typer.Option(help="fp8: take the parts over a base in fp8; auto: the others.")
    ] = "auto",
) -> None:
    """Predict the time of a search from measured parts, by simulating its lanes with ASHA's rule.

    The shares are of the time of all seats. A seat that is empty while others of its lane go on is idle.
    """
    from dataclasses import asdict

    from tune_sa2va.bench.adds_up import Load, parts_of_benchmarks, predict
    from tune_sa2va.bench.report import show, write_json

    found = parts_of_benchmarks(
        parts, side_px=size, train_images=train_images, val_images=val_images, seats=seats, fp8=precision == "fp8"
    )
    rows = [predict(found, Load(trials=trials, epochs=epochs, lanes=number, seats=seats)) for number in lanes]
    rows = [
        row | {"minutes": row["seconds"] / 60, "low": row["low_s"] / 60, "high": row["high_s"] / 60} for row in rows
    ]
    write_json(out / "adds_up.json", {"parts": asdict(found), "cases": rows})
    show(
        f"a search of {trials} trials from {found.source}", rows,
        ("lanes", "seats", "epochs", "minutes", "training", "evaluation", "opening", "idle"),
    )  # fmt: skip
    print(f"from the first step to the last epoch's end; written to {out / 'adds_up.json'}")


@app.command()
def record(
    data: Annotated[str, typer.Option(help="As --data of a search; every image is used.")],
    out: Annotated[Path, typer.Option(help="Folder of the recording; an existing one is continued.")],
    model: Model = "tiny",
    space: Annotated[
        str, typer.Option(help="As --space of a search; the recipe and random points are trained.")
    ] = "wide",
    configurations: Annotated[int, typer.Option(min=1, help="Number of points of the space.")] = 64,
    folds: Annotated[int, typer.Option(min=2, help="Group folds of all images.")] = 5,
    seeds: Annotated[int, typer.Option(min=1, help="Adapters per configuration and fold.")] = 2,
    epochs: Annotated[int, typer.Option(min=1, help="Epochs per adapter.")] = 15,
    processes: Annotated[int, typer.Option(min=1, help="Trials that run in parallel.")] = 1,
    minutes: Annotated[
        float | None, typer.Option(min=0.0, help="Stop cleanly after this many minutes; call again to go on.")
    ] = None,
    compiled: Annotated[bool, typer.Option(help="Compile layers, as lanes do; on a GPU.")] = True,
) -> None:
    """Train many configurations to the end and record every image's counts out of its fold, for `replay`."""
    from tune_sa2va.bench.record.command import record as make
    from tune_sa2va.bench.record.plan import RecordingPlan

    plan = RecordingPlan(
        data=data, space=space, model=model, num_configurations=configurations, folds=folds, seeds=seeds, epochs=epochs
    )
    make(plan, out, processes=processes, minutes=minutes, compiled=compiled)


@app.command()
def replay(
    files: Annotated[list[Path], typer.Argument(help="Recordings, each with configurations.parquet beside it.")],
    out: Annotated[Path, typer.Option(help="Folder for the tables and the figure.")] = Path("replay"),
    searches: Annotated[int, typer.Option(min=1, help="Searches per rule, each on its own split.")] = 200,
) -> None:
    """Simulate searches on recordings: what each rule for stopping and choosing gains and costs."""
    from tune_sa2va.bench.replay.command import replay as play

    play(files, out, searches=searches)


@app.command()
def final(
    data: Annotated[str, typer.Option(help="As --data of a search.")],
    configurations: Annotated[Path, typer.Option(help="configurations.parquet of a recording.")],
    numbers: Annotated[str, typer.Option(help="Numbers of its configurations, separated by commas.")] = "0",
    out: Annotated[Path, typer.Option(help="Folder of pieces and table; continued if it exists.")] = Path("final"),
    model: Model = "tiny",
    resplits: Annotated[int, typer.Option(min=1, help="Draws of the locked patients.")] = 8,
    folds: Annotated[int, typer.Option(min=2, help="Adapters per configuration.")] = 5,
    epochs: Annotated[int, typer.Option(min=1, help="Epochs per training.")] = 15,
    processes: Annotated[int, typer.Option(min=1, help="Processes that run in parallel.")] = 1,
    compiled: Annotated[bool, typer.Option(help="Compile layers, as lanes do; on a GPU.")] = True,
) -> None:
    """Score each form of --final on locked images: one fold's adapter, the average, the ensemble, a refit."""
    from tune_sa2va.bench.final.command import final as measure

    try:
        chosen = [int(number) for number in numbers.split(",")]
    except ValueError as error:
        raise UserError(
            f"--numbers {numbers}: must be whole numbers separated by commas, for example 0,10,20."
        ) from error
    measure(
        data, configurations, chosen, out,
        model=model, resplits=resplits, folds=folds, epochs=epochs, processes=processes, compiled=compiled,
    )  # fmt: skip


@app.command()
def precision(
    model: Annotated[str, typer.Option(help="The base whose layers and gradients are compared.")] = "8b",
    out: Out = Path("bench"),
    size: Annotated[int, typer.Option(help="Side of the image in pixels.")] = 512,
    data: Annotated[
        str | None, typer.Option(help="As --data of a search: train adapters over both bases instead.")
    ] = None,
    space: Annotated[str, typer.Option(help="With --data: as --space of a search.")] = "wide",
    configurations: Annotated[int, typer.Option(min=3, help="With --data: points of the space to rank.")] = 16,
    means: Annotated[int, typer.Option(min=1, help="With --data: the first of them, trained with every seed.")] = 3,
    seeds: Annotated[int, typer.Option(min=2, help="With --data: seeds, each with its own fold to score.")] = 5,
    epochs: Annotated[int, typer.Option(min=1, help="With --data: epochs per adapter.")] = 15,
    processes: Annotated[int, typer.Option(min=1, help="With --data: processes that run in parallel.")] = 1,
) -> None:
    """What an fp8 base changes against bf16: products and gradients by layer, or Dice of adapters trained over it."""
    import torch

    from tune_sa2va.bench.precision.command import compare, harm
    from tune_sa2va.bench.record.plan import RecordingPlan

    if data is None:
        compare(model, torch.device("cuda" if torch.cuda.is_available() else "cpu"), out, side_px=size)
        return
    plan = RecordingPlan(
        data=data, space=space, model=model, num_configurations=configurations, folds=seeds, seeds=seeds, epochs=epochs
    )
    harm(plan, out, means=means, processes=processes)


@app.command()
def study(
    data: Annotated[str, typer.Option(help="As --data of a search.")],
    out: Annotated[Path, typer.Option(help="Folder of the study; an existing one is continued.")],
    model: Model = "tiny",
    seeds: Annotated[int, typer.Option(min=1, help="Seeds, each for split, sampler and training together.")] = 5,
    trials: Annotated[int, typer.Option(min=1, help="Trials per search.")] = 24,
    epochs: Annotated[int, typer.Option(min=1, help="Most epochs of a trial.")] = 15,
    row: Annotated[
        list[str] | None, typer.Option(help="A search to make; may be repeated.", show_default="all of them")
    ] = None,
    gpus: Annotated[int, typer.Option(min=0, help="As --gpus of a search.")] = 0,
    lanes: Annotated[int, typer.Option(min=1, help="Without GPUs: lanes on the CPU.")] = 2,
    processes: Annotated[int, typer.Option(min=1, help="Searches that run in parallel.")] = 1,
    minutes: Annotated[
        float | None, typer.Option(min=0.0, help="Stop cleanly after this many minutes; call again to go on.")
    ] = None,
    unet_epochs: Annotated[int, typer.Option(min=0, help="Epochs of the U-Net, which needs MONAI; 0: no U-Net.")] = 200,
    ablation_seeds: Annotated[
        int, typer.Option(min=0, help="Adapters per configuration and fold of the ablation; 0: no ablation.")
    ] = 2,
    compiled: Annotated[bool, typer.Option(help="Compile layers, as lanes do; on a GPU.")] = True,
) -> None:
    """Compare the usual recipe with searches by several rules on a data set: a table and figures."""
    from tune_sa2va.bench.study.cells import Execution, StudyPlan
    from tune_sa2va.bench.study.command import study as make
    from tune_sa2va.bench.study.rows import SEARCHES

    known = [each.key for each in SEARCHES]
    if strange := [key for key in row or [] if key not in known]:
        raise UserError(f"--row {strange[0]}: must be one of {', '.join(known)}.")
    plan = StudyPlan(
        data=data, model=model, seeds=seeds, trials=trials, epochs=epochs, rows=tuple(row) if row else tuple(known)
    )
    place = ["--gpus", str(gpus)] if gpus else ["--gpus", "0", "--lanes", str(lanes)]
    execution = Execution(place=place, processes=processes, minutes=minutes, compiled=compiled)
    make(plan, out, execution, unet_epochs=unet_epochs, ablation_seeds=ablation_seeds)


def _fields(texts: list[str]) -> tuple[tuple[str, Any], ...]:
    """Parses each `FIELD=VALUE`; a value that is JSON is read as JSON, any other as text."""
    pairs = []
    for text in texts:
        field, _, value = text.partition("=")
        if field not in RECIPE.flat():
            raise UserError(f"--set {text}: not a field of a trial. Give FIELD=VALUE, for example encoder.sam2=all.")
        try:
            pairs.append((field, json.loads(value)))
        except ValueError:
            pairs.append((field, value))
    return tuple(pairs)


def _open(
    model: str,
    cap_gib: float,
    precision: str = "auto",
    *,
    fp8_copies: int = 2,
    runs_sam2: bool = False,
    runs_vision: bool = False,
) -> Any:
    import torch

    from tune_sa2va.bench.step import Bench
    from tune_sa2va.config import Fp8Copies, ModelSettings, Precision

    device = torch.device("cuda", 0) if torch.cuda.is_available() else torch.device("cpu")
    if cap_gib and device.type == "cuda":
        total = torch.cuda.get_device_properties(device).total_memory / 2**30
        torch.cuda.set_per_process_memory_fraction(min(1.0, cap_gib / total), device)
    plain: Precision = "bf16" if device.type == "cuda" else "fp32"
    copies: Fp8Copies = 1 if fp8_copies == 1 else 2
    settings = ModelSettings(model=model, precision="fp8" if precision == "fp8" else plain, fp8_copies=copies)
    return Bench.open(settings, device, runs_sam2=runs_sam2, runs_vision=runs_vision)


def _report(name: str, bench: Any, out: Path, rows: list[dict[str, Any]], columns: tuple[str, ...]) -> None:
    from tune_sa2va.bench.report import show

    about = _write(name, bench, out, rows)
    show(f"{name}: {bench.name} on {about['hardware']['device']}", rows, columns)
    print(f"written to {out / f'{name}.json'}; matrix products reach {bench.ceiling_tflops:.3g} TFLOP/s here")


def _write(name: str, bench: Any, out: Path, rows: list[dict[str, Any]]) -> dict[str, Any]:
    from tune_sa2va.bench.machine import describe
    from tune_sa2va.bench.report import write_json

    about = describe(bench.device) | {
        "model": bench.name,
        "precision": bench.settings.precision,
        "fp8_copies": bench.settings.fp8_copies,
        "seconds": bench.seconds,
        "ceiling_tflops": bench.ceiling_tflops,
    }
    write_json(out / f"{name}.json", about | {"cases": rows})
    return about


if __name__ == "__main__":
    run(app)
