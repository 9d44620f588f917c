"""Memory of the host is kept from one checkpoint to the next, and grows only where it must."""

import pytest
import torch

from tune_sa2va.train.host_memory import HostMemory


def sizes(memory: HostMemory, *numels: int) -> list[int]:
    """What trials get that ask for so much, and all give it back."""
    pieces = [memory.take(numel) for numel in numels]
    for piece in pieces:
        memory.give_back(piece)
    return [len(piece.values) for piece in pieces]


def test_trials_that_save_together_find_pieces_of_their_sizes_again() -> None:
    memory = HostMemory(3, pinned=False)
    assert sizes(memory, 8, 64, 16) == [8, 64, 16]
    assert sizes(memory, 64, 8, 16) == [64, 8, 16]
    assert sizes(memory, 5, 20, 60) == [8, 64, 60], "the smallest that is large enough; if none is left, one grows"


def test_one_at_a_time_keeps_one_piece() -> None:
    memory = HostMemory(3, pinned=False)
    for numel in (8, 64, 16, 128):
        sizes(memory, numel)
    assert sorted(len(memory.take(0).values) for _ in range(3)) == [0, 0, 128]


def test_a_piece_that_cannot_grow_is_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    memory, empty = HostMemory(1, pinned=False), torch.empty

    def refuse(numel: int, **named: object) -> torch.Tensor:
        if numel:
            raise RuntimeError("out of memory")
        return empty(0)

    monkeypatch.setattr(torch, "empty", refuse)
    with pytest.raises(RuntimeError, match="out of memory"):
        memory.take(8)
    monkeypatch.undo()
    assert sizes(memory, 8) == [8]
