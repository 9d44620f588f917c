from collections.abc import Iterator

import pytest
import ray

from tune_sa2va.search.cluster import start_own_ray


@pytest.fixture(scope="package")
def own_ray() -> Iterator[None]:
    start_own_ray(num_cpus=4, num_gpus=0)
    yield
    ray.shutdown()
