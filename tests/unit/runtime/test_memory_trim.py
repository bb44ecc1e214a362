"""When freed memory is given back: when there is some to give back, and ever more rarely when there is not."""

from __future__ import annotations

import asyncio
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from sluice.runtime.memory_trim import (
    FIRST_INTERVAL_S,
    MAX_INTERVAL_S,
    MIB,
    TrimPolicy,
    allocator_trim,
    keep_small,
)


def test_a_program_of_its_usual_size_is_left_alone() -> None:
    policy = TrimPolicy()
    assert not any(policy.is_due(60 * MIB + size, now) for now, size in enumerate((0, 5 * MIB, 2 * MIB)))


def test_one_that_has_grown_is_trimmed_and_again_while_that_helps() -> None:
    policy = TrimPolicy()
    assert not policy.is_due(60 * MIB, 0.0)
    assert policy.is_due(600 * MIB, 1.0)
    policy.trimmed(600 * MIB, 300 * MIB, 1.0)
    assert not policy.is_due(300 * MIB, 1.0 + FIRST_INTERVAL_S / 2)
    assert policy.is_due(300 * MIB, 1.0 + FIRST_INTERVAL_S)


def test_where_nothing_is_given_back_it_is_tried_ever_more_rarely() -> None:
    policy = TrimPolicy()
    policy.is_due(60 * MIB, 0.0)
    tried = [
        now for now in range(1_000) if policy.is_due(600 * MIB, now) and not policy.trimmed(600 * MIB, 600 * MIB, now)
    ]
    gaps = [later - sooner for sooner, later in pairwise(tried)]
    assert gaps == sorted(gaps)
    assert gaps[-1] == MAX_INTERVAL_S


def test_a_size_that_changes_is_looked_at_soon_however_little_was_given_back_before() -> None:
    policy = TrimPolicy()
    policy.is_due(60 * MIB, 0.0)
    for now in range(5):
        policy.trimmed(600 * MIB, 600 * MIB, now)
    assert not policy.is_due(600 * MIB, now + FIRST_INTERVAL_S)
    for size in (300 * MIB, 900 * MIB):
        assert not policy.is_due(size, now + FIRST_INTERVAL_S / 2)
        assert policy.is_due(size, now + FIRST_INTERVAL_S)


@given(st.lists(st.integers(1, 2**40), max_size=30))
def test_the_least_size_is_the_measure(sizes: list[int]) -> None:
    policy = TrimPolicy()
    for now, size in enumerate(sizes):
        due = policy.is_due(size, float(now))
        assert policy.least == min(sizes[: now + 1])
        assert not (due and size <= policy.least)


async def test_looking_ends_with_its_task_and_trims_on_another_thread() -> None:
    sizes, trims = iter([60 * MIB, 600 * MIB, 100 * MIB]), asyncio.Event()
    loop = asyncio.get_running_loop()
    looking = asyncio.create_task(
        keep_small(
            resident=lambda: next(sizes, 60 * MIB), trim=lambda: loop.call_soon_threadsafe(trims.set), look_s=0.01
        )
    )
    await asyncio.wait_for(trims.wait(), 5)
    looking.cancel()
    await asyncio.gather(looking, return_exceptions=True)


def test_the_c_library_has_the_call_or_nothing_is_done() -> None:
    trim = allocator_trim()
    assert trim is None or trim() in {0, 1}
