"""A search over three hosts with networks of their own, one of which loses power and cable."""

import re
import time

import pytest

from tests.drills.hosts import TOKEN, can_be_made, hosts
from tests.drills.searches import Ground, finish, is_gone, num_epochs, wait_until
from tune_sa2va.results.records import read_epochs, read_trials


@pytest.mark.slow  # two minutes
@pytest.mark.timeout(900)
def test_a_host_that_goes_costs_its_lane_and_no_epoch_more(tmp_path_factory: pytest.TempPathFactory) -> None:
    if not can_be_made():
        pytest.skip("may not make network namespaces")
    with Ground.prepare(tmp_path_factory.mktemp("hosts")) as ground, hosts(ground.folder, workers=2) as (head, lost, _):
        wait_until(
            lambda: "Ray runtime started" in (ground.folder / f"{head.name}.log").read_text(), what="the head is up"
        )
        # Enough trials that some have not begun when the host goes: then the other lane stays open for the lost one.
        driver = ground.start(
            "hosts", "--address", f"{head.address}:6399", lanes=2, trials=6, epochs=9, prefix=head.prefix(), extra=TOKEN
        )
        results = ground.results("hosts")
        wait_until(lambda: num_epochs(results) >= 4, within_s=300, what="four epochs recorded")
        cut_at = time.time()
        ran = lost.cut_off()
        assert finish(driver) == 0, ground.said("hosts")
        wait_until(lambda: all(map(is_gone, ran)), within_s=30, what="nothing runs on the lost host")
    said = ground.said("hosts")
    (lost_trial,) = re.findall(r"trial (\d+)\s+goes on from its last checkpoint", said)
    assert "1 of 2 lanes" in said and "Traceback" not in said
    trials, epochs = read_trials(results), read_epochs(results)
    assert len(trials) == 6 and set(trials["state"]) <= {"COMPLETE", "STOPPED"}
    assert not epochs.duplicated(["trial_id", "epoch"]).any()
    assert (epochs.groupby("trial_id")["epoch"].max() == epochs.groupby("trial_id").size()).all()
    after = epochs.assign(seconds_after=epochs["ended_at"].map(lambda moment: moment.timestamp()) - cut_at)
    after = after[after["seconds_after"] > 0]
    assert after["seconds_after"].min() < 20, "the other host's trial did not wait"
    assert after[after["trial_id"] == lost_trial]["seconds_after"].min() < 60, "the lost trial waited too long"
