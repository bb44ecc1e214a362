"""How two checkouts are compared: round by round, so that a machine that slows down meanwhile favours neither."""

from __future__ import annotations

from benchmarks.regression import MEASUREMENTS, ratios


def test_each_round_is_compared_with_itself() -> None:
    found = ratios({"Infer": {"this": [100.0, 50.0, 10.0], "baseline": [200.0, 50.0, 5.0]}})
    assert found == {"Infer": {"median": 1.0, "rounds": [0.5, 1.0, 2.0]}}


def test_single_calls_and_streams_are_measured() -> None:
    assert {name.partition(",")[0] for name in MEASUREMENTS} == {"Infer", "InferStream"}
