"""The command: runs the native model on a golden folder, prints a line per tensor, and exits 1 if any differs."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from tune_sa2va.config import PlainPrecision
from tune_sa2va.parity.check import Report, check
from tune_sa2va.parity.compare import Difference
from tune_sa2va.parity.golden import KeyUse, key_use, read_golden

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)

_WHY_NOT = {
    "image": "given",
    "mask": "given",
    "tiles_uint8": "pixel_values before normalisation",
    "g_image_uint8": "g_pixel_values before normalisation",
    "g_image_1024_uint8_every_16th": "the picture at another size than this model's",
    "obj_ptr": "used only for video, so the native model does not compute it",
}


@app.command()
def main(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Checkpoint with golden inputs, outputs and adapter/.")],
    dtype: Annotated[
        PlainPrecision, typer.Option(help="Precision of the native model; bf16 has wider limits.")
    ] = "fp32",
) -> None:
    """Compare every tensor and gradient of the native model with those that the reference's own code computed."""
    console = Console(soft_wrap=True, highlight=False)
    golden = read_golden(folder)
    keys = key_use(folder, golden.dims)
    _print_keys(console, keys)
    if keys.unused:  # the loader would refuse such a checkpoint
        raise typer.Exit(1)
    report = check(golden, dtype)
    _print_report(console, report)
    if not all(difference.is_close for difference in report.differences):
        raise typer.Exit(1)


def _print_keys(console: Console, keys: KeyUse) -> None:
    console.print(f"{keys.num_mapped} checkpoint keys fill native tensors, {keys.num_leftover} are only for video.")
    for key in keys.unused:
        console.print(f"[red]not used[/]  {escape(key)}")


def _print_report(console: Console, report: Report) -> None:
    for difference in report.differences:
        console.print(_line(difference))
    for name in report.not_compared:
        console.print(
            f"[yellow]not compared[/]  {escape(name)} ({_WHY_NOT.get(name, 'no native tensor of that name')})"
        )
    far = [difference for difference in report.differences if not difference.is_close]
    worst = max(report.differences, key=lambda difference: difference.relative / difference.limit)
    verdict = f"[red]{len(far)} differ[/]" if far else "[green]all agree[/]"
    console.print(
        f"{len(report.differences)} tensors compared, {len(report.not_compared)} not; {verdict}. "
        f"Nearest to its limit: {escape(worst.name)}, {worst.relative:.1e} of {worst.limit:.0e}."
    )


def _line(difference: Difference) -> str:
    verdict = "[green]agrees [/]" if difference.is_close else "[red]DIFFERS[/]"
    note = f" ({difference.note})" if difference.note else ""
    return f"{verdict}  abs {difference.absolute:.1e}  rel {difference.relative:.1e}  {escape(difference.name + note)}"
