"""Cutting a batch by length: against every possible cut for small batches, and by what it wastes on real mixes."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluice.engine.encoder.pipeline import CPU_OVERHEAD_TOKENS, pack_by_length

LENGTHS = st.lists(st.integers(1, 300), max_size=64)
OVERHEADS = st.integers(0, 200)
SHORTEST, LONGEST = 8, 256


def padded_tokens(parts: list[list[int]], lengths: list[int]) -> int:
    return sum(len(part) * max(lengths[place] for place in part) for part in parts)


def cost_of(parts: list[list[int]], lengths: list[int], overhead: int) -> int:
    return padded_tokens(parts, lengths) + overhead * len(parts)


def least_cost(lengths: list[int], overhead: int) -> int:
    """By trying, for each prefix of the sorted lengths, every last sub-batch."""
    ordered = sorted(lengths)
    least = [0]
    for end in range(1, len(ordered) + 1):
        least.append(min(least[begin] + (end - begin) * ordered[end - 1] + overhead for begin in range(end)))
    return least[-1]


@given(LENGTHS, OVERHEADS)
def test_every_text_is_in_one_sub_batch_and_none_is_empty(lengths: list[int], overhead: int) -> None:
    parts = pack_by_length(lengths, overhead=overhead)
    assert sorted(place for part in parts for place in part) == list(range(len(lengths)))
    assert all(parts)


@given(LENGTHS, OVERHEADS)
def test_texts_stand_in_their_order_and_sub_batches_come_shortest_first(lengths: list[int], overhead: int) -> None:
    parts = pack_by_length(lengths, overhead=overhead)
    assert all(part == sorted(part) for part in parts)
    spans = [sorted(lengths[place] for place in part) for part in parts]
    assert all(one[-1] < other[0] for one, other in pairwise(spans))


@given(LENGTHS, OVERHEADS)
def test_no_cut_costs_less(lengths: list[int], overhead: int) -> None:
    assert cost_of(pack_by_length(lengths, overhead=overhead), lengths, overhead) == least_cost(lengths, overhead)


@given(LENGTHS.filter(bool), OVERHEADS)
def test_a_cut_never_costs_more_than_one_batch(lengths: list[int], overhead: int) -> None:
    whole = cost_of([list(range(len(lengths)))], lengths, overhead)
    assert cost_of(pack_by_length(lengths, overhead=overhead), lengths, overhead) <= whole


@given(LENGTHS, OVERHEADS, st.randoms(use_true_random=False))
def test_the_order_of_a_batch_has_no_part_in_who_is_computed_with_whom(
    lengths: list[int], overhead: int, shuffler: random.Random
) -> None:
    shuffled = shuffler.sample(lengths, len(lengths))
    companies = [
        [sorted(batch[place] for place in part) for part in pack_by_length(batch, overhead=overhead)]
        for batch in (lengths, shuffled)
    ]
    assert companies[0] == companies[1]


@pytest.mark.parametrize("size", [32, 64, 128])
def test_a_realistic_mix_wastes_a_tenth_at_most_in_few_sub_batches(size: int) -> None:
    dice = random.Random(size)
    real = padded = whole = count = 0
    for _ in range(100):
        lengths = [min(max(int(dice.lognormvariate(3.8, 0.8)), SHORTEST), LONGEST) for _ in range(size)]
        parts = pack_by_length(lengths, overhead=CPU_OVERHEAD_TOKENS)
        real += sum(lengths)
        padded += padded_tokens(parts, lengths)
        whole += size * max(lengths)
        count += len(parts)
    assert 1 - real / padded <= 0.10
    assert 1 - real / whole > 0.60
    assert count / 100 <= size / 3


def test_an_overhead_beyond_all_padding_keeps_a_batch_whole() -> None:
    assert pack_by_length([3, 200, 8], overhead=1000) == [[0, 1, 2]]


def test_without_an_overhead_every_length_is_a_sub_batch() -> None:
    assert pack_by_length([5, 3, 5, 8], overhead=0) == [[1], [0, 2], [3]]


def test_nothing_is_cut_into_nothing() -> None:
    assert pack_by_length([], overhead=10) == []


def test_a_negative_overhead_is_refused() -> None:
    with pytest.raises(ValueError, match="-1 tokens is negative"):
        pack_by_length([1], overhead=-1)
