"""How a rate is written, and what it says."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as some

from sluice.load.rate import Rate, Spike, parse_rate, parse_spike


@pytest.mark.parametrize(
    ("text", "steps"),
    [
        ("500", ((0.0, 500.0),)),
        ("0.5", ((0.0, 0.5),)),
        ("300,900@10,300@20", ((0.0, 300.0), (10.0, 900.0), (20.0, 300.0))),
        ("300, 0@1.5", ((0.0, 300.0), (1.5, 0.0))),
    ],
)
def test_a_rate_is_read(text: str, steps: tuple[tuple[float, float], ...]) -> None:
    assert parse_rate(text).steps == steps


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "is no rate; write R"),
        ("fast", "is no rate"),
        ("-5", "is no rate"),
        ("300@10", "is no rate"),
        ("300,900", "is no rate"),
        ("300,900@10,500@10", "ascend"),
        ("0", "offers nothing"),
    ],
)
def test_what_is_no_rate_is_refused_with_the_grammar(text: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        parse_rate(text)


def test_a_spike_is_read() -> None:
    assert parse_spike("5x@20+10") == Spike(factor=5, at_s=20, length_s=10)


@pytest.mark.parametrize("text", ["5@20+10", "5x", "5x@20", "5x@20+0", "x@1+1"])
def test_what_is_no_spike_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is no spike"):
        parse_spike(text)


def test_a_spike_multiplies_what_is_there_and_then_is_over() -> None:
    rate = parse_rate("100,200@10").with_spikes([Spike(factor=5, at_s=8, length_s=4)])
    assert [rate.at(second) for second in (0, 7.9, 8, 9.9, 10, 11.9, 12, 99)] == [
        100,
        100,
        500,
        500,
        1000,
        1000,
        200,
        200,
    ]


spikes = some.builds(Spike, factor=some.floats(0.1, 10), at_s=some.floats(0, 50), length_s=some.floats(0.1, 50))


@given(some.lists(spikes, max_size=4), some.floats(0, 120))
def test_spikes_that_overlap_multiply(several: list[Spike], instant_s: float) -> None:
    expected = 100.0
    for one in several:
        expected *= one.factor if one.at_s <= instant_s < one.at_s + one.length_s else 1.0
    assert Rate(((0.0, 100.0),)).with_spikes(several).at(instant_s) == pytest.approx(expected)
