"""A peer cannot fill the log: of each kind of line there is one in an interval, and the others are counted."""

from __future__ import annotations

import logging
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluice.runtime.logging import LimitedLog

INTERVAL_S = 10.0


class Sink(logging.Handler):
    """Keeps the records."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


def sink() -> tuple[Sink, logging.Logger]:
    logger, kept = logging.Logger("a peer's doing"), Sink()
    logger.addHandler(kept)
    return kept, logger


@given(st.lists(st.tuples(st.integers(0, 5), st.sampled_from("ab")), max_size=60))
def test_lines_of_a_kind_are_an_interval_apart_and_none_is_forgotten(lines: list[tuple[int, str]]) -> None:
    kept, logger = sink()
    now = 100.0
    log = LimitedLog(logger, interval_s=INTERVAL_S, clock=lambda: now)
    at: dict[str, list[float]] = {"a": [], "b": []}
    said = {"a": 0, "b": 0}
    for wait_s, kind in lines:
        now += wait_s
        said[kind] += 1
        if log.warning(kind):
            at[kind].append(now)
    now += INTERVAL_S
    for kind, times in at.items():
        assert all(later - earlier >= INTERVAL_S for earlier, later in pairwise(times))
        log.error(kind)
        told = [record for record in kept.records if record.getMessage() == kind]
        assert sum(1 + getattr(record, "left_out", 0) for record in told) == said[kind] + 1
        assert told[-1].levelno == logging.ERROR


@pytest.mark.parametrize("back_s", [0.1, 3600.0])
def test_a_clock_that_goes_back_silences_nothing(back_s: float) -> None:
    kept, logger = sink()
    now = 10_000.0
    log = LimitedLog(logger, interval_s=INTERVAL_S, clock=lambda: now)
    log.warning("once", peer="1")
    now -= back_s
    log.warning("once", peer="2")
    assert [vars(record)["peer"] for record in kept.records] == ["1", "2"]
