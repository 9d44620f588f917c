"""The cards that a search would get, from the output of nvidia-smi."""

from pathlib import Path

import pytest

from tests.watch.runs import settings_in
from tune_sa2va.preflight.cards import cards, visible

LISTED = """\
0, GPU-aaaa-1, NVIDIA H100 80GB HBM3, 80000, 81559
1, GPU-abcd-2, NVIDIA A10, 2048, 23028
2, GPU-cccc-3, NVIDIA A100-SXM4-80GB, [N/A], [N/A]
"""


@pytest.mark.parametrize(
    ("visible_devices", "free_gib"),
    [
        (None, [78.125, 2.0]),
        ("1,0", [2.0, 78.125]),
        ("GPU-ab", [2.0]),
        ("GPU-a", []),  # the start of two UUIDs
        ("0,7,1", [78.125]),
        ("2", []),  # split into MIG instances: torch has to be asked
        ("2,0", []),
        ("", []),
        ("-1", []),
    ],
)
def test_the_cards_that_cuda_would_show(visible_devices: str | None, free_gib: list[float]) -> None:
    environment = {} if visible_devices is None else {"CUDA_VISIBLE_DEVICES": visible_devices}
    assert [
        card.free_gib for card in visible([line.split(", ") for line in LISTED.splitlines()], environment)
    ] == free_gib


def test_no_driver_or_no_gpu_wanted(tmp_path: Path) -> None:
    assert visible([], {}) == () and cards(settings_in(tmp_path)) == ()
