"""`python -m tune_sa2va.pretrain` trains the weights of the `tiny` preset again, on procedural scenes.

    python -m tune_sa2va.pretrain --out pretrained --minutes 17 --workers 15

trains all parameters of the tiny preset for 17 minutes on one GPU, and writes `model.safetensors` with the reference's
keys. Run it again with the same --out to continue where it stopped.
"""

import shutil
from pathlib import Path
from typing import Annotated, Literal

import torch
import typer

from tune_sa2va.errors import UserError
from tune_sa2va.model.dims import read_dims
from tune_sa2va.model.locate import model_folder
from tune_sa2va.model.prompt import Prompter
from tune_sa2va.pretrain.loop import PretrainSettings, pretrain
from tune_sa2va.pretrain.tokenizer import make_tokenizer

app = typer.Typer(add_completion=False)


@app.command()
def main(
    out: Annotated[Path, typer.Option(help="Folder of the training state and of the finished checkpoint.")],
    minutes: Annotated[float, typer.Option(min=0.01, help="Total training time, over all sessions.")] = 17.0,
    stop_after: Annotated[
        float, typer.Option(min=0.01, help="Stop this session after this many minutes; run again to go on.")
    ] = 1e9,
    batch_size: Annotated[int, typer.Option(min=1, help="Images per step.")] = 16,
    workers: Annotated[int, typer.Option(min=1, help="Processes that draw scenes.")] = 15,
    pool: Annotated[int, typer.Option(min=1, help="Scenes kept on the device (1.6 MB each).")] = 4096,
    compile_blocks: Annotated[
        bool, typer.Option("--compile/--no-compile", help="Compile Hiera's blocks with torch.compile.")
    ] = True,
    init: Annotated[
        Path | None, typer.Option(help="Checkpoint folder to start from.", show_default="random weights")
    ] = None,
    device: Annotated[Literal["cuda", "cpu"], typer.Option(help="cpu is only for trying it out.")] = "cuda",
) -> None:
    """Pretrain all parameters of the tiny preset on procedural scenes."""
    if device == "cuda" and not torch.cuda.is_available():
        raise UserError("--device cuda: this machine has no GPU that PyTorch can use. Give --device cpu to try it out.")
    if init is not None:
        read_dims(init)
    folder = model_folder("tiny")
    out.mkdir(parents=True, exist_ok=True)
    for name in ("config.json", "sam2_dims.json"):
        shutil.copyfile(folder / name, out / name)
    dims = read_dims(out)
    if not (out / "tokenizer.json").exists():
        make_tokenizer(out, vocab_size=dims.language_model.vocab_size)
    settings = PretrainSettings(
        minutes=minutes, batch_size=batch_size, workers=workers, pool_scenes=pool, compile=compile_blocks, init=init
    )
    weights = pretrain(dims, Prompter(out), out, settings, device=torch.device(device), stop_after_s=60 * stop_after)
    print(f"finished: {weights}" if weights else f"stopped before the end; run again with --out {out}")


if __name__ == "__main__":
    from tune_sa2va.cli import run

    run(app)
