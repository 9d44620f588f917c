"""When a search gives up; a resumed search counts failures from zero."""

import pickle

import pytest

from tune_sa2va.lane.host import OUT_OF_MEMORY
from tune_sa2va.lane.trainable import FAILURE_KIND, LANE_FAILURE
from tune_sa2va.schedule.repeated_failure import MAX_EQUAL_FAILURES, StopOnRepeatedFailure

EPOCH = {"epoch": 1, "val_dice": 0.5}


def failed(kind: str) -> dict[str, object]:
    return {"val_dice": 0.0, FAILURE_KIND: kind}


@pytest.mark.parametrize(
    ("results", "stops"),
    [
        ([failed("NaN")] * MAX_EQUAL_FAILURES, True),
        ([failed("NaN")] * (MAX_EQUAL_FAILURES - 1), False),
        ([*[failed("NaN")] * (MAX_EQUAL_FAILURES - 1), EPOCH, failed("NaN")], False),
        ([failed("NaN"), failed("CUDA")] * MAX_EQUAL_FAILURES, False),
        ([failed(OUT_OF_MEMORY)] * 3 * MAX_EQUAL_FAILURES, False),
        ([failed(LANE_FAILURE)], True),
        ([EPOCH] * 3 * MAX_EQUAL_FAILURES, False),
    ],
)
def test_equal_failures_in_a_row_stop_a_search(results: list[dict[str, object]], stops: bool) -> None:
    stopper = StopOnRepeatedFailure()
    assert [stopper(str(place), result) for place, result in enumerate(results)] == [False] * len(results)
    assert stopper.stop_all() is stops
    assert not pickle.loads(pickle.dumps(stopper)).stop_all(), "a user who resumes has fixed the cause"  # noqa: S301
