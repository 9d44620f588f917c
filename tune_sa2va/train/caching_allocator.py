"""Simulates PyTorch's CUDA caching allocator on sizes: how much GPU memory a sequence of requests makes it reserve.

The allocator reserves more than live tensors need. It gets segments from the driver and never moves blocks inside them.
Requests up to 1 MiB share segments of 2 MiB, those under 10 MiB share segments of 20 MiB, and larger ones get segments
of their own. Memory in the pool of CUDA graphs is not used for anything else. The rules are those of torch's
c10/cuda/CUDACachingAllocator.cpp with default settings; a test compares them with a sequence worked out by hand.
"""

from bisect import bisect_left, insort
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count

BLOCK_BYTES = 512
"""Every request is rounded up to a multiple of this."""
_MIB = 2**20
_SMALL, _SMALL_SEGMENT = _MIB, 2 * _MIB
_MEDIUM, _MEDIUM_SEGMENT = 10 * _MIB, 20 * _MIB
_LARGE_MULTIPLE = 2 * _MIB

GENERAL, GRAPHS = "general", "graphs"
"""Memory pools: one for eager calls, and one that all graphs of a `Graphs` share."""


@dataclass(eq=False, slots=True)
class Block:
    """A piece of a segment.

    size: bytes. order: counts up as blocks are made. shelf: pool, and whether it is for small requests. before, after:
    neighbours in the segment; None at its ends.
    """

    size: int
    order: int
    shelf: tuple[str, bool]
    is_free: bool = False
    before: "Block | None" = None
    after: "Block | None" = None

    @property
    def key(self) -> tuple[int, int]:
        """Sort key of free blocks: the smallest first, and the oldest of equal size."""
        return self.size, self.order


class CachingAllocator:
    """reserved: bytes that are reserved on the GPU now. peak: maximum of `reserved` so far."""

    def __init__(self) -> None:
        self.reserved = 0
        self.peak = 0
        self._pool = GENERAL
        self._shelves: defaultdict[tuple[str, bool], list[tuple[tuple[int, int], Block]]] = defaultdict(list)
        self._numbers = count()

    @contextmanager
    def serving(self, pool: str) -> Iterator[None]:
        """Requests inside are served from `pool`."""
        before, self._pool = self._pool, pool
        try:
            yield
        finally:
            self._pool = before

    def allocate(self, num_bytes: int) -> Block:
        """The smallest free block that is large enough, or else a new segment. The excess is split off."""
        size = max(1, -(-num_bytes // BLOCK_BYTES)) * BLOCK_BYTES
        is_small = size <= _SMALL
        shelf = self._shelves[self._pool, is_small]
        place = bisect_left(shelf, (size, -1), key=lambda entry: entry[0])
        if place < len(shelf):
            _, block = shelf.pop(place)
            block.is_free = False
        else:
            block = Block(_segment_bytes(size), next(self._numbers), (self._pool, is_small))
            self.reserved += block.size
            self.peak = max(self.peak, self.reserved)
        rest = block.size - size
        if rest >= BLOCK_BYTES if is_small else rest > _SMALL:
            self._split(block, size)
        return block

    def release(self, block: Block) -> None:
        """Returns a block to its pool and joins it with free neighbours. `reserved` does not change."""
        for other in (block.before, block.after):
            if other is not None and other.is_free:
                self._unshelve(other)
                block = self._join(other, block) if other is block.before else self._join(block, other)
        self._shelve(block)

    def empty_cache(self) -> None:
        """Gives segments without a live tensor back to the GPU, except for those in the graphs' pool."""
        for (pool, _), shelf in self._shelves.items():
            if pool != GRAPHS:
                unused = [entry for entry in shelf if entry[1].before is None and entry[1].after is None]
                self.reserved -= sum(block.size for _, block in unused)
                shelf[:] = [entry for entry in shelf if entry not in unused]

    def _split(self, block: Block, size: int) -> None:
        rest = Block(block.size - size, next(self._numbers), block.shelf, before=block, after=block.after)
        if block.after is not None:
            block.after.before = rest
        block.size, block.after = size, rest
        self._shelve(rest)

    def _join(self, left: Block, right: Block) -> Block:
        left.size += right.size
        left.after = right.after
        if right.after is not None:
            right.after.before = left
        return left

    def _shelve(self, block: Block) -> None:
        block.is_free = True
        insort(self._shelves[block.shelf], (block.key, block), key=lambda entry: entry[0])

    def _unshelve(self, block: Block) -> None:
        shelf = self._shelves[block.shelf]
        del shelf[bisect_left(shelf, block.key, key=lambda entry: entry[0])]


def _segment_bytes(size: int) -> int:
    if size <= _SMALL:
        return _SMALL_SEGMENT
    if size < _MEDIUM:
        return _MEDIUM_SEGMENT
    return -(-size // _LARGE_MULTIPLE) * _LARGE_MULTIPLE
