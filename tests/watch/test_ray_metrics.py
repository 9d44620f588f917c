"""The metrics of a search, as Prometheus reads them from the port of a real Ray node."""

import socket
import time
import urllib.request

import pytest
import ray

from tests.watch.runs import an_epoch
from tune_sa2va.config import RECIPE
from tune_sa2va.results.records import TrialState
from tune_sa2va.schedule.decision import Decision, RungOutcome
from tune_sa2va.watch.ray_metrics import SearchMetrics

OURS = ("lane", "trial", "rung", "outcome")
WANTED = {
    'ray_sa2va_val_dice{lane="lane 1",trial="0003"}': 0.61,
    'ray_sa2va_it_per_s{lane="lane 1",trial="0003"}': 0.5,
    'ray_sa2va_peak_gib{lane="lane 1",trial="0003"}': 0.5,
    'ray_sa2va_lane_state{lane="lane 1"}': 1.0,
    'ray_sa2va_lane_state{lane="lane 2"}': 2.0,
    'ray_sa2va_lane_state{lane="lane 3"}': 0.0,
    'ray_sa2va_rung_decisions_total{rung="1",outcome="stopped"}': 1.0,
}


def scraped(port: int) -> dict[str, float]:
    """Our metrics by name and our own tags, without those that Ray adds for node and process."""
    found = {}
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as page:
        for line in page.read().decode().splitlines():
            if line.startswith("ray_sa2va_"):
                name, rest = line.split("{", 1)
                tags, value = rest.rsplit("} ", 1)
                ours = sorted(
                    tag for tag in tags.split(",") if tag.split("=")[0] in ("lane", "trial", "rung", "outcome")
                )
                found[f"{name}{{{','.join(ours)}}}"] = float(value)
    return found


@pytest.mark.slow  # starts Ray and waits for its agent to report
def test_a_node_exports_the_numbers_of_the_search(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_metrics_report_interval_ms", "1000")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    ray.init(address="local", num_cpus=1, include_dashboard=False, log_to_driver=False, _metrics_export_port=port)
    try:
        metrics = SearchMetrics()
        metrics.started("0003", "lane 1", RECIPE, 0)
        metrics.started("0004", "lane 2", RECIPE, 0)
        metrics.epoch("0003", "lane 1", an_epoch(1, 0.61), Decision(1, 0.61, 0.7, 4, RungOutcome.STOPPED))
        metrics.started("0005", "lane 3", RECIPE, 0)
        metrics.epoch("0005", "lane 3", an_epoch(1, 0.5), None)
        metrics.ended("0005", "lane 3", TrialState.STOPPED, "", "")
        metrics.interrupted("0004", "lane 2", "a worker died")
        time.sleep(6)  # Ray forgets what was set once after two reports, here 2 s
        give_up, found = time.monotonic() + 60, {}
        while found != WANTED and time.monotonic() < give_up:
            time.sleep(1)
            try:
                found = scraped(port)
            except OSError:
                continue  # the agent starts
        assert found == WANTED
        metrics.close()
    finally:
        ray.shutdown()
