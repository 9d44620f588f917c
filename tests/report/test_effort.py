"""Lane time where several trials share a lane."""

import pandas as pd

from tune_sa2va.report.effort import savings


def test_trials_that_share_a_lane_share_its_time() -> None:
    trials = pd.DataFrame({"trial_id": ["a", "b"], "state": ["COMPLETE", "STOPPED"], "epochs": [3, 1]})
    trials["train.epochs"] = 3
    epochs = pd.DataFrame({"trial_id": ["a", "b", "a", "a"], "seconds": [10.0, 10.0, 8.0, 8.0]})
    epochs["seated"] = [2.0, 2.0, 1.0, 1.0]
    found = savings(trials, epochs)
    assert found.used_s == 10 + 8 + 8, "a round of two trials is one round of the lane"
    assert found.saved_s == 2 * 5
