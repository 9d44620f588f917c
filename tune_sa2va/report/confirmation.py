"""The section on the reruns that confirm the search's best: each finalist's scores, and how lucky the first one was."""

from typing import Any

from tune_sa2va.report.load import Run
from tune_sa2va.report.words import count, duration, number
from tune_sa2va.search.confirm import Rerun, confirmation_words
from tune_sa2va.search.records import TrialState


def confirmation_section(run: Run) -> dict[str, Any] | None:
    """Sentences, and a row a finalist: trial, search's score, reruns, mean, spread; None where nothing is confirmed."""
    confirmation = run.confirmation
    if confirmation is None:
        return None
    reruns = sum(len(finalist.reruns) for finalist in confirmation.finalists)
    asked = (
        f"The best {count(len(confirmation.finalists), 'configuration')} of the search ran again to the last epoch, "
        f"{count(reruns, 'rerun')} with new seeds, in {duration(run.confirmation_s)} of lane time; none was stopped "
        "early, and the sampler was told nothing of them."
    )
    rows = [
        (
            f"trial {finalist.trial_id}",
            number(finalist.val_dice),
            ", ".join(map(_rerun, finalist.reruns)),
            number(finalist.mean),
            number(finalist.spread),
        )
        for finalist in confirmation.finalists
    ]
    return {"said": [asked, *confirmation_words(confirmation)], "rows": rows}


def _rerun(rerun: Rerun) -> str:
    if rerun.state is TrialState.COMPLETE:
        return f"{number(rerun.val_dice)} (seed {rerun.seed})"
    return f"{str(rerun.state or 'not started').lower()} (seed {rerun.seed})"
