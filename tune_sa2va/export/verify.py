"""An export, loaded and scored on the validation part by a process that knows nothing of the one that wrote it.

`verify` starts that process; `python -m tune_sa2va.export.verify REQUEST ANSWER` is it. Both are JSON files.
"""

import json
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

from tune_sa2va.errors import CheckpointError, UserError


@dataclass(frozen=True, kw_only=True, slots=True)
class FreshScores:
    """What the fresh process found: a row (TP, FP, FN, TN) an image, at 0.5 and at the threshold that it chose."""

    default_counts: list[list[int]]
    chosen_counts: list[list[int]]
    threshold: float
    precision: str
    device: str


class Verify(Protocol):
    """What `verify` does, here or on another machine."""

    def __call__(self, run: Path, folder: Path, *, merged: bool) -> FreshScores:
        """As `verify`."""


def verify(run: Path, folder: Path, *, merged: bool) -> FreshScores:
    """Scores of the adapter (or merged checkpoint) in `folder` on the validation part of the search in `run`.

    Raises:
        UserError: the export, the base model or the data cannot be used.
    """
    with tempfile.TemporaryDirectory(prefix="tune_sa2va-verify-") as temporary:
        request, answer = Path(temporary) / "request.json", Path(temporary) / "answer.json"
        request.write_text(json.dumps({"run": str(run.resolve()), "folder": str(folder.resolve()), "merged": merged}))
        command = [sys.executable, "-m", "tune_sa2va.export.verify", str(request), str(answer)]
        done = subprocess.run(command, capture_output=True, text=True)  # noqa: S603 - our own module
        if done.returncode == 0:
            return FreshScores(**json.loads(answer.read_text()))
    last = done.stderr.strip().splitlines()[-1:] or [f"exit code {done.returncode}"]
    if done.returncode == 2:
        raise CheckpointError(last[0].removeprefix("error: "))
    raise CheckpointError(
        f"{folder}: the process that was to load the export and score it ended early ({last[0]}). "
        "If memory ran out, export when the search no longer runs."
    )


def _answer(request: dict[str, Any]) -> FreshScores:
    import torch

    from tune_sa2va.config import LaneSettings
    from tune_sa2va.data.split_file import read_split
    from tune_sa2va.model.adapter import load_adapter
    from tune_sa2va.results.settings import SearchSettings
    from tune_sa2va.train.workbench import open_examples, open_model

    run, folder = Path(request["run"]), Path(request["folder"])
    searched = SearchSettings.load(run)
    on_gpu = searched.gpus > 0 and torch.cuda.is_available()
    torch.set_num_threads(searched.cpus_per_worker)
    device = torch.device("cuda" if on_gpu else "cpu")
    with tempfile.TemporaryDirectory(prefix="tune_sa2va-features-") as features:
        settings = LaneSettings(
            model=searched.model.model_copy(update={"model": str(folder)}) if request["merged"] else searched.model,
            data=searched.data,
            # A merged checkpoint has encoders of its own, and nobody will ask for its features again.
            feature_cache=Path(features) if request["merged"] else searched.feature_cache,
            raw_high_res=searched.raw_high_res,
            num_workers=1,
            use_gpu=on_gpu,
            cpus_per_worker=searched.cpus_per_worker,
        )
        model = open_model(settings.model, device)
        samples = [sample for sample in read_split(run, settings.data) if sample.split == "val"]
        examples = open_examples(model, settings, samples, device)
        if not request["merged"]:
            examples = examples.for_model(model, load_adapter(model, folder))
        return _score(model, examples, precision=settings.model.precision, device=str(device))


def _score(model: Any, examples: Any, *, precision: str, device: str) -> FreshScores:
    from tune_sa2va.evaluate.predict import predict
    from tune_sa2va.evaluate.threshold import DEFAULT_THRESHOLD, choose_threshold, counts_at, histogram

    histograms = []
    for index in range(len(examples)):
        example = examples[index]
        histograms.append(histogram(predict(model, example), example.truth))
    found = [each.cpu().numpy() for each in histograms]
    chosen = choose_threshold(found).threshold

    def rows(threshold: float) -> list[list[int]]:
        return [list(asdict(counts_at(each, threshold)).values()) for each in found]

    return FreshScores(
        default_counts=rows(DEFAULT_THRESHOLD),
        chosen_counts=rows(chosen),
        threshold=chosen,
        precision=precision,
        device=device,
    )


def _main(request: Path, answer: Path) -> int:
    try:
        answer.write_text(json.dumps(asdict(_answer(json.loads(request.read_text())))))
    except UserError as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(_main(Path(sys.argv[1]), Path(sys.argv[2])))
