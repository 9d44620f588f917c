"""What makes two configurations the same trial, and which damage a checkpoint's checksums reveal."""

import json
from pathlib import Path

import pytest

from tune_sa2va.config import RECIPE
from tune_sa2va.errors import CheckpointError
from tune_sa2va.train.checkpoint_state import objective, read_state, sha256


@pytest.mark.parametrize(
    ("micro_batch_size", "accumulation_steps", "same"), [(4, 2, True), (1, 8, True), (8, 2, False)]
)
def test_how_a_step_is_cut_up_does_not_matter(micro_batch_size: int, accumulation_steps: int, same: bool) -> None:
    asked = RECIPE.replace({"train.micro_batch_size": 8})
    cut = {"train.micro_batch_size": micro_batch_size, "train.accumulation_steps": accumulation_steps}
    assert (objective(RECIPE.replace(cut)) == objective(asked)) is same
    assert objective(RECIPE.replace(cut | {"lora.r": 8})) != objective(asked)


def test_every_file_is_held_against_its_checksum(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).write_text(name)
    sums = {name: sha256(tmp_path / name) for name in ("a", "b")}
    assert sums["a"] == "ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb"  # FIPS 180-2's of "a"
    (tmp_path / "state.json").write_text(json.dumps({"sha256": sums}))
    assert read_state(tmp_path) == {"sha256": sums}
    (tmp_path / "b").write_text("c")
    with pytest.raises(CheckpointError, match="b is damaged"):
        read_state(tmp_path)
