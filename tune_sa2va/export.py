"""`python -m tune_sa2va.export`: the adapter of a search's best trial, or of any trial, as files for Sa2VA.

    python -m tune_sa2va.export --run results/NAME --to best_adapter
    python -m tune_sa2va.export --run results/NAME --trial 1a2b3c_00004 --to adapter_4

works while the search runs, too: it reads the checkpoints that lie there, nothing else.
"""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml

from tune_sa2va.config import TrialConfig
from tune_sa2va.errors import CheckpointError, UserError

app = typer.Typer(add_completion=False)

THRESHOLD = 0.5
"""On the sigmoid of the mask logits, as in Sa2VA."""
_FILES = ("adapter_model.safetensors", "adapter_config.json")


@dataclass(frozen=True, kw_only=True, slots=True)
class TrialCheckpoint:
    """A trial's state after one epoch, as it lies in the results folder."""

    folder: Path
    trial_id: str
    epoch: int
    val_dice: float
    config: TrialConfig


def find_checkpoints(run: Path) -> list[TrialCheckpoint]:
    """Every readable checkpoint of the search in `run`, best validation Dice first (ties: the earlier epoch first).

    Raises:
        UserError: `run` is not a results folder.
    """
    if not (run / "search.yaml").exists():
        raise UserError(f"{run}: holds no search (no search.yaml). Give the folder results/NAME of a search.")
    found = []
    for path in (run / "ray").glob("*/*/checkpoint_*/state.json"):
        try:
            state = json.loads(path.read_text())
            found.append(
                TrialCheckpoint(
                    folder=path.parent,
                    trial_id=path.parents[1].name,
                    epoch=state["progress"]["epoch"],
                    val_dice=state["progress"]["val_dice"],
                    config=TrialConfig.model_validate(state["config"]),
                )
            )
        except FileNotFoundError:
            continue  # replaced by the running search between the listing and the reading
    return sorted(found, key=lambda checkpoint: (-checkpoint.val_dice, checkpoint.epoch))


def best_checkpoint(run: Path, trial_id: str | None = None) -> TrialCheckpoint:
    """The checkpoint with the highest validation Dice of the search, or of one trial.

    Raises:
        UserError: there is none, or no such trial.
    """
    checkpoints = find_checkpoints(run)
    if not checkpoints:
        raise UserError(f"{run}: no trial has finished an epoch yet. Wait for the first one, or look at its failures.")
    if trial_id is None:
        return checkpoints[0]
    own = [checkpoint for checkpoint in checkpoints if checkpoint.trial_id == trial_id]
    if not own:
        known = ", ".join(sorted({checkpoint.trial_id for checkpoint in checkpoints})[:10])
        raise UserError(f"--trial {trial_id}: no checkpoint of it in {run}. Trials with one: {known}.")
    return own[0]


def export_adapter(run: Path, checkpoint: TrialCheckpoint, to: Path) -> None:
    """Write the adapter, its configuration and a model card to `to`, which appears whole or not at all.

    Raises:
        UserError: `to` holds something that is not an exported adapter.
        CheckpointError: the checkpoint's adapter cannot be read.
    """
    if to.exists() and any(to.iterdir()) and not (to / "tune_sa2va.json").exists():
        raise UserError(f"--to {to}: holds other files. Give an empty or a new folder.")
    unfinished = to.with_name(f".{to.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    about = _about(run, checkpoint)
    try:
        for name in _FILES:
            shutil.copyfile(checkpoint.folder / "adapter" / name, unfinished / name)
    except OSError as error:
        raise CheckpointError(f"{checkpoint.folder}: the adapter cannot be copied ({error.strerror}).") from error
    (unfinished / "tune_sa2va.json").write_text(json.dumps(about, indent=1) + "\n")
    (unfinished / "README.md").write_text(_card(about))
    shutil.rmtree(to, ignore_errors=True)
    unfinished.rename(to)


def _about(run: Path, checkpoint: TrialCheckpoint) -> dict[str, Any]:
    search = yaml.safe_load((run / "search.yaml").read_text())
    environment = run / "environment.json"
    known = json.loads(environment.read_text()) if environment.exists() else {}
    base = known.get("base_model", {})
    return {
        "trial": checkpoint.trial_id,
        "epoch": checkpoint.epoch,
        "metrics": {"val_dice": checkpoint.val_dice},
        "threshold": THRESHOLD,
        "question": search["data"]["question"],
        "answer": search["data"]["answer"],
        "base_model": base.get("id", Path(search["model"]["model"]).name),
        "base_model_hash": base.get("sha256", ""),
        "data_fingerprint": known.get("data_fingerprint", ""),
        "config": checkpoint.config.to_dict(),
    }


def _card(about: dict[str, Any]) -> str:
    lora, train = about["config"]["lora"], about["config"]["train"]
    full = ", ".join(train["full_modules"]) or "none"
    return f"""# LoRA adapter for Sa2VA: vessel segmentation

Found by tune_sa2va: trial {about["trial"]}, epoch {about["epoch"]}, validation Dice {about["metrics"]["val_dice"]:.4f}.

- Base model: {about["base_model"]} ({about["base_model_hash"]})
- Data: fingerprint {about["data_fingerprint"]}
- LoRA: r={lora["r"]}, alpha={lora["alpha_over_r"] * lora["r"]:g} on {", ".join(lora["target_modules"])};
  modules trained in full: {full}
- Question: `{about["question"]}`; answer: `{about["answer"]}`; mask: sigmoid > {about["threshold"]}
- The whole configuration: `tune_sa2va.json`

## Use in Sa2VA

```python
from peft import PeftModel
model = PeftModel.from_pretrained(sa2va, "this/folder").merge_and_unload()  # sa2va: the base, loaded as usual
```

Module names are Sa2VA's own. The adapters of SAM2's memory attention, which single images never run, have B = 0.
"""


@app.command()
def main(
    run: Annotated[Path, typer.Option(help="Results folder of a search, results/NAME; it may still be running.")],
    to: Annotated[Path, typer.Option(help="Folder to write; new, empty, or an earlier export.")],
    trial: Annotated[str | None, typer.Option(help="A trial's id.", show_default="the best by Val Dice")] = None,
) -> None:
    """Write a trial's adapter in PEFT's format with Sa2VA's own module names."""
    checkpoint = best_checkpoint(run, trial)
    export_adapter(run, checkpoint, to)
    typer.echo(f"{to}: trial {checkpoint.trial_id}, epoch {checkpoint.epoch}, Val Dice {checkpoint.val_dice:.4f}")


if __name__ == "__main__":
    from tune_sa2va.cli import run as run_app

    run_app(app)
