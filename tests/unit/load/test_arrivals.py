"""When requests arrive."""

from __future__ import annotations

import itertools
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as some

from sluice.load.arrivals import instants, variation
from sluice.load.rate import Rate, parse_rate

KINDS = ("constant", "poisson", "gamma:3")


def gaps(arrivals: str, *, seed: int = 1) -> list[float]:
    """Times between arrivals of 100 a second."""
    found = instants(arrivals, parse_rate("100"), duration_s=200, seed=seed)
    return [later - one for one, later in itertools.pairwise(found)]


@pytest.mark.parametrize(
    ("arrivals", "cv"), [("constant", 0.0), ("poisson", 1.0), ("gamma:3", 3.0), ("gamma:0.5", 0.5)]
)
def test_gaps_have_the_mean_and_the_variation_that_are_named(arrivals: str, cv: float) -> None:
    found = gaps(arrivals)
    mean = statistics.fmean(found)
    assert mean == pytest.approx(0.01, rel=0.1)
    assert statistics.pstdev(found) / mean == pytest.approx(cv, abs=0.2)


@pytest.mark.parametrize("arrivals", ["", "bursty", "gamma", "gamma:0", "gamma:x", "poisson:3"])
def test_what_is_no_process_is_refused(arrivals: str) -> None:
    with pytest.raises(ValueError, match="is no arrival process; there are poisson"):
        variation(arrivals)


@given(some.sampled_from(KINDS), some.integers(0, 2**32))
def test_the_same_seed_gives_the_same_instants_ascending_within_the_run(arrivals: str, seed: int) -> None:
    rate = parse_rate("50,200@1,0@2,80@3")
    found = list(instants(arrivals, rate, duration_s=4, seed=seed))
    assert found == sorted(found)
    assert all(0 <= one < 4 for one in found)
    assert found == list(instants(arrivals, rate, duration_s=4, seed=seed))


@pytest.mark.parametrize("arrivals", KINDS)
def test_each_step_has_its_rate(arrivals: str) -> None:
    rate = Rate(((0.0, 200.0), (100.0, 50.0), (200.0, 0.0), (300.0, 400.0)))
    found = list(instants(arrivals, rate, duration_s=400, seed=3))
    counts = [sum(begin <= one < begin + 100 for one in found) for begin in (0, 100, 200, 300)]
    for count, expected in zip(counts, (20_000, 5_000, 0, 40_000), strict=True):
        assert count == pytest.approx(expected, rel=0.15)


def test_a_rate_that_ends_at_nothing_ends() -> None:
    assert len(list(instants("constant", parse_rate("10,0@1.05"), duration_s=1e9, seed=1))) == 10


def test_a_constant_rate_is_regular_from_the_beginning() -> None:
    assert list(instants("constant", parse_rate("4"), duration_s=1.1, seed=9)) == [0.25, 0.5, 0.75, 1.0]
