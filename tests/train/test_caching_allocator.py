"""The allocator's rules against sizes worked out by hand, and invariants for any sequence of requests."""

import random

from tune_sa2va.train.caching_allocator import GRAPHS, CachingAllocator

MIB = 2**20


def test_small_requests_share_segments_and_large_ones_have_their_own() -> None:
    allocator = CachingAllocator()
    small = [allocator.allocate(MIB) for _ in range(2)]
    assert allocator.reserved == 2 * MIB
    medium = [allocator.allocate(9 * MIB) for _ in range(2)]
    assert allocator.reserved == 22 * MIB
    large = allocator.allocate(11 * MIB)
    assert allocator.reserved == 34 * MIB
    for block in (*small, *medium, large):
        allocator.release(block)
    assert allocator.reserved == allocator.peak == 34 * MIB
    allocator.empty_cache()
    assert allocator.reserved == 0 and allocator.peak == 34 * MIB


def test_a_free_block_serves_what_fits_and_not_what_is_larger() -> None:
    allocator = CachingAllocator()
    allocator.release(allocator.allocate(100 * MIB))
    pieces = [allocator.allocate(50 * MIB), allocator.allocate(50 * MIB)]
    assert allocator.reserved == 100 * MIB
    for piece in pieces:
        allocator.release(piece)
    joined = allocator.allocate(100 * MIB)
    assert allocator.reserved == 100 * MIB  # the halves are one block again
    allocator.release(joined)
    allocator.allocate(102 * MIB)
    assert allocator.reserved == 202 * MIB


def test_the_graphs_pool_keeps_what_it_has_and_serves_nobody_else() -> None:
    allocator = CachingAllocator()
    with allocator.serving(GRAPHS):
        allocator.release(allocator.allocate(40 * MIB))
    allocator.release(allocator.allocate(40 * MIB))
    assert allocator.reserved == 80 * MIB
    allocator.empty_cache()
    assert allocator.reserved == 40 * MIB
    with allocator.serving(GRAPHS):
        allocator.allocate(40 * MIB)
    assert allocator.reserved == 40 * MIB


def test_any_sequence_fits_into_what_is_reserved_and_leaves_nothing() -> None:
    chance = random.Random(0)
    allocator, live = CachingAllocator(), {}
    for number in range(3000):
        if live and chance.random() < 0.5:
            allocator.release(live.pop(chance.choice(list(live))))
        else:
            live[number] = allocator.allocate(int(2 ** chance.uniform(0, 26)))
        assert sum(block.size for block in live.values()) <= allocator.reserved <= allocator.peak
    for block in live.values():
        allocator.release(block)
    allocator.empty_cache()
    assert allocator.reserved == 0
