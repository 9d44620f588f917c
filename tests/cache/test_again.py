"""Work that meets damaged features is tried again, and fails if there are always more."""

import logging

import pytest

from tune_sa2va.cache.again import with_sound_features
from tune_sa2va.errors import CacheError, DamagedFeaturesError


def test_work_begins_again_with_one_warning(caplog: pytest.LogCaptureFixture) -> None:
    left = [DamagedFeaturesError("x.safetensors: cannot be read.")]

    def work() -> int:
        if left:
            raise left.pop()
        return 5

    with caplog.at_level(logging.WARNING):
        assert with_sound_features(work) == 5
    assert [record.message for record in caplog.records] == ["x.safetensors: cannot be read."]


@pytest.mark.parametrize(("error", "tries"), [(DamagedFeaturesError("x"), 3), (CacheError("no room"), 1)])
def test_other_faults_and_a_bad_disk_are_told(error: CacheError, tries: int) -> None:
    begun = []

    def work() -> None:
        begun.append(1)
        raise error

    with pytest.raises(CacheError):
        with_sound_features(work)
    assert len(begun) == tries
