"""The section on the reruns that confirm the search's best: every finalist's scores, and how lucky the first was."""

from typing import Any

from tune_sa2va.propose.confirmation import Rerun, confirmation_words
from tune_sa2va.report.load import Run
from tune_sa2va.results.records import TrialState
from tune_sa2va.words import count, duration, number


def confirmation_section(run: Run) -> dict[str, Any] | None:
    """`said`: sentences. `rows`: per finalist trial, score in the search, reruns, mean and spread.

    None if the search has no confirmation.
    """
    confirmation = run.confirmation
    if confirmation is None:
        return None
    started = sum(rerun.state is not None for finalist in confirmation.finalists for rerun in finalist.reruns)
    asked = (
        f"The best {count(len(confirmation.finalists), 'configuration')} of the search ran again with new seeds: "
        f"{count(started, 'rerun')} in {duration(run.confirmation_s)} of lane time. ASHA stopped none of them, and the "
        "sampler was not told of them."
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
    return {"said": [*([asked] if started else []), *confirmation_words(confirmation)], "rows": rows}


def _rerun(rerun: Rerun) -> str:
    if rerun.state is TrialState.COMPLETE:
        return f"{number(rerun.val_dice)} (seed {rerun.seed})"
    return f"{str(rerun.state or 'not started').lower()} (seed {rerun.seed})"
