"""ASHA's decisions in words."""

from typing import Any

from ray.tune.experiment import Trial
from ray.tune.schedulers import TrialScheduler

from tune_sa2va.schedule.asha import AshaSparingTheRecipe
from tune_sa2va.schedule.decision import Decision, RungOutcome
from tune_sa2va.space.rerun import RERUN_OF, RERUN_SEED


def a_trial(number: int) -> Trial:
    def name(trial: Trial) -> str:
        return f"{number:04d}"

    return Trial("a", config={"x": number}, trial_name_creator=name, stub=True)


def told(values: list[float]) -> tuple[AshaSparingTheRecipe, list[str]]:
    """Trials with these values at rung 1; the last is the recipe."""
    options: dict[str, Any] = {"time_attr": "epoch", "metric": "val_dice", "mode": "max", "max_t": 9}
    asha = AshaSparingTheRecipe({"x": len(values) - 1}, grace_period=1, reduction_factor=3, **options)
    answers = []
    for number, value in enumerate(values):
        trial = a_trial(number)
        asha.on_trial_add(None, trial)
        answers.append(asha.on_trial_result(None, trial, {"epoch": 1, "val_dice": value}))
    return asha, answers


def test_a_decision_has_the_cutoff_that_was_compared() -> None:
    asha, answers = told([0.5, 0.6, 0.55, 0.7, 0.2])
    go_on, stop = TrialScheduler.CONTINUE, TrialScheduler.STOP
    assert answers == [go_on, go_on, stop, go_on, go_on]
    assert asha.decisions["0000"] == Decision(1, 0.5, None, 0, RungOutcome.PASSED)
    stopped = asha.decisions["0002"]  # two thirds of the way from 0.5 to 0.6
    assert stopped.outcome is RungOutcome.STOPPED and stopped.others == 2 and abs(stopped.cutoff - 0.56667) < 1e-4
    assert stopped.words == "stopped at rung 1: val Dice 0.5500 is below the cutoff 0.5667 of 2 before it"
    assert asha.decisions["0003"].words.startswith("passed rung 1: val Dice 0.7000 reaches the cutoff")
    assert asha.decisions["0004"].words.startswith("spared at rung 1, as the recipe: val Dice 0.2000 is below")


def test_between_rungs_nothing_is_decided() -> None:
    asha, _ = told([0.5, 0.6])
    before = dict(asha.decisions)
    trial = a_trial(7)
    asha.on_trial_add(None, trial)
    assert asha.on_trial_result(None, trial, {"epoch": 1, "val_dice": 0.9}) == TrialScheduler.CONTINUE
    assert asha.on_trial_result(None, trial, {"epoch": 2, "val_dice": 0.1}) == TrialScheduler.CONTINUE
    assert asha.on_trial_result(None, trial, {"val_dice": 0.0, "failure": "Out of memory."}) == TrialScheduler.CONTINUE
    assert asha.decisions.keys() - before.keys() == {"0007"} and asha.decisions["0007"].rung == 1


def test_reruns_are_never_stopped_and_count_at_no_rung() -> None:
    asha, _ = told([0.5, 0.6, 0.7])
    rerun = Trial("a", config={"x": 2} | {RERUN_OF: "0002", RERUN_SEED: 1}, stub=True)
    asha.on_trial_add(None, rerun)
    recorded = len(asha._trial_info[rerun.trial_id]._rungs[-1][1])
    for epoch in (1, 3, 9):
        assert asha.on_trial_result(None, rerun, {"epoch": epoch, "val_dice": 0.0}) == TrialScheduler.CONTINUE
    rungs = asha._trial_info[rerun.trial_id]._rungs
    asha.on_trial_complete(None, rerun, {"epoch": 9, "val_dice": 0.0})
    assert len(rungs[-1][1]) == recorded and not any(rerun.trial_id in known for _, known in rungs)
