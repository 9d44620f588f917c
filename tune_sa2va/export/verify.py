"""Loads an export in a fresh process and scores it on the validation part, independently of the process that wrote it.

`verify` starts the fresh process as `python -m tune_sa2va.export.verify REQUEST ANSWER`. Both files are JSON.
"""

import json
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

from tune_sa2va.config import PlainPrecision, Precision
from tune_sa2va.errors import CheckpointError, DataGoneError, UserError


@dataclass(frozen=True, kw_only=True, slots=True)
class FreshScores:
    """Results of the fresh process: (TP, FP, FN, TN) of each image at 0.5 and at the threshold that it chose.

    precision: of the fresh process, bf16 after a search in fp8. device: as torch names it.
    """

    default_counts: list[list[int]]
    chosen_counts: list[list[int]]
    threshold: float
    precision: PlainPrecision
    device: str


_REFUSED, _GONE = 2, 3
"""Exit codes of the process: its input cannot be used; images are gone."""

TOLERANCES: dict[Precision, float] = {"fp32": 1e-6, "bf16": 2e-3, "fp8": 2e-2}
"""Allowed difference between a Dice from a fresh process and the one that was recorded, by the precision of the search.

In fp32 results are the same up to single pixels, which show. bf16 has 8 significant bits: other batches and kernels
change pixels at the borders of vessels. fp8 has 4, and the fresh process computes in bf16. Rounding that is
16 times as coarse would give 3e-2 by the rule of bf16; less is allowed, so that an adapter that does nothing is still
found: the untuned base is 0.05 below the recipe on the locked coronary images (`results/coronary`).
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Proof:
    """How an export is compared with what the search recorded.

    merged: the export is a whole checkpoint.
    members: adapters, one per fold, each of which predicts the images of its fold. Without members, the export predicts
        all images that it is scored on.
    only_fold: score only the images of this fold; None for all that the search validates on.
    is_mean: also check that the export's changes to the weights are the mean of the members' changes.
    """

    merged: bool = False
    members: tuple[Path, ...] = ()
    only_fold: int | None = None
    is_mean: bool = False
    dice_on_all: float | None = None
    """Dice that the export must reach on all images outside the test part, which it was trained on; None if it need not
    be checked."""


class Verify(Protocol):
    """The signature of `verify`; another implementation may run on another machine."""

    def __call__(self, run: Path, folder: Path, proof: Proof) -> FreshScores:
        """As `verify`."""


def verify(run: Path, folder: Path, proof: Proof) -> FreshScores:
    """Scores the export in `folder` on the images that the search in `run` validates on, as `proof` says.

    Raises:
        UserError: the export, the base model or the data cannot be used, or the fresh process ended early.
    """
    with tempfile.TemporaryDirectory(prefix="tune_sa2va-verify-") as temporary:
        request, answer = Path(temporary) / "request.json", Path(temporary) / "answer.json"
        places = {"run": str(run.resolve()), "folder": str(folder.resolve())}
        members = [str(member.resolve()) for member in proof.members]
        request.write_text(json.dumps(places | asdict(proof) | {"members": members}), encoding="utf-8")
        command = [sys.executable, "-m", "tune_sa2va.export.verify", str(request), str(answer)]
        done = subprocess.run(command, capture_output=True, encoding="utf-8", errors="replace")  # noqa: S603 - our own module
        if done.returncode == 0:
            return FreshScores(**json.loads(answer.read_text(encoding="utf-8")))
    last = done.stderr.strip().splitlines()[-1:] or [f"exit code {done.returncode}"]
    if done.returncode == _GONE:
        raise DataGoneError(last[0].removeprefix("error: "))
    if done.returncode == _REFUSED:
        raise CheckpointError(last[0].removeprefix("error: "))
    raise CheckpointError(
        f"{folder}: the process that loads and scores the export ended early ({last[0]}). "
        "If memory ran out, export when the search no longer runs."
    )


def _answer(request: dict[str, Any]) -> FreshScores:
    import torch

    from tune_sa2va.config import LaneSettings
    from tune_sa2va.data.parts import scored_of
    from tune_sa2va.data.split_file import read_split
    from tune_sa2va.evaluate.members import Members
    from tune_sa2va.model.average import check_average
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
            # A merged checkpoint has a hash of its own, and its features will not be needed again.
            feature_cache=Path(features) if request["merged"] else searched.feature_cache,
            raw_high_res=searched.raw_high_res,
            num_workers=1,
            use_gpu=on_gpu,
            cpus_per_worker=searched.cpus_per_worker,
        )
        model = open_model(settings.model.plain, device)
        only = request["only_fold"]
        samples = [each for each in scored_of(read_split(run, settings.data)) if only is None or each.fold == only]
        examples = open_examples(model, settings, samples, device)
        adapters = [Path(member) for member in request["members"]]
        if request["is_mean"]:
            check_average(folder, adapters)
        if request["dice_on_all"] is not None:
            _check_on_all(model, settings, read_split(run, settings.data), folder, request["dice_on_all"])
        members = Members.attach(model, adapters or ([] if request["merged"] else [folder]))
        return _score(model, members, examples, precision=settings.model.plain_precision, device=str(device))


def _check_on_all(model: Any, settings: Any, samples: Any, folder: Path, wanted: float) -> None:
    """Checks that the export has the Dice that was recorded after its training on all images.

    Raises:
        CheckpointError: it does not.
    """
    from tune_sa2va.data.parts import searched_of
    from tune_sa2va.evaluate.members import Members
    from tune_sa2va.evaluate.metrics import mean_scores
    from tune_sa2va.evaluate.out_of_fold import out_of_fold
    from tune_sa2va.evaluate.threshold import DEFAULT_THRESHOLD, counts_at
    from tune_sa2va.train.workbench import open_examples

    examples = open_examples(model, settings, searched_of(samples), model.no_mem_embed.device)
    members = Members.attach(model, [folder])
    counts = [counts_at(each, DEFAULT_THRESHOLD) for each in out_of_fold(model, members, examples)]
    found = mean_scores(counts, examples.texts).dice
    members.detach()
    if not abs(found - wanted) <= TOLERANCES[settings.model.precision]:
        raise CheckpointError(
            f"{folder}: loaded by a fresh process, the adapter that was trained on all images scores Dice {found:.6f} "
            f"on them, but {wanted:.6f} was recorded. Check that the base model and the images are those of the search."
        )


def _score(model: Any, members: Any, examples: Any, *, precision: PlainPrecision, device: str) -> FreshScores:
    from tune_sa2va.evaluate.out_of_fold import out_of_fold
    from tune_sa2va.evaluate.threshold import DEFAULT_THRESHOLD, choose_threshold, counts_at

    found = out_of_fold(model, members, examples)
    chosen = choose_threshold(found, examples.texts)

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
    from tune_sa2va.cache.again import with_sound_features
    from tune_sa2va.data.failure_words import FailureWords
    from tune_sa2va.data.split_file import read_names
    from tune_sa2va.results.settings import SearchSettings

    asked = json.loads(request.read_text(encoding="utf-8"))
    try:
        found = with_sound_features(lambda: _answer(asked))
        answer.write_text(json.dumps(asdict(found)), encoding="utf-8")
    except UserError as error:
        run = Path(asked["run"])
        words = FailureWords.of(read_names(run), SearchSettings.load(run).data)
        print(f"error: {words.sentence(' '.join(str(error).split()))}", file=sys.stderr)
        return _GONE if isinstance(error, DataGoneError) else _REFUSED
    return 0


if __name__ == "__main__":
    sys.exit(_main(Path(sys.argv[1]), Path(sys.argv[2])))
