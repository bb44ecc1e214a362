"""A member that floods its governor with reports is read at a bounded rate, and the newest counts."""

from __future__ import annotations

import asyncio

import pytest

from services.governor.report_throttle import MOST_MESSAGES, PACE, ReportThrottle
from sluice.domain.errors import InvalidRequest
from sluice.v1 import health_pb2
from tests.unit.polling import until


def report(number: int) -> health_pb2.HealthReport:
    return health_pb2.HealthReport(inflight=number)


async def test_reports_in_their_time_are_read_at_once() -> None:
    read: list[int] = []
    intake = ReportThrottle(lambda one: read.append(one.inflight), interval_s=0.1)
    for number in range(3):
        await intake.pause()
        intake.take(report(number))
        assert read[-1] == number
        await asyncio.sleep(2 * PACE * 0.1)
    intake.close()


async def test_of_those_that_come_too_soon_only_the_newest_is_read_when_the_time_is_up() -> None:
    read: list[int] = []
    intake = ReportThrottle(lambda one: read.append(one.inflight), interval_s=1.0)
    for number in range(20):
        await intake.pause()
        intake.take(report(number))
    assert read == [0]
    await until(lambda: read == [0, 19])
    intake.close()


async def test_a_flood_is_not_heard_out() -> None:
    read: list[int] = []
    intake = ReportThrottle(lambda one: read.append(one.inflight), interval_s=5.0)
    for number in range(MOST_MESSAGES):
        await intake.pause()
        intake.take(report(number))
    pausing = asyncio.create_task(intake.pause())
    await asyncio.sleep(0.01)
    assert not pausing.done()
    assert read == [0]
    await asyncio.wait_for(pausing, 10)
    intake.close()


async def test_what_is_read_late_and_cannot_be_ends_the_stream_with_the_next_message() -> None:
    def read(one: health_pb2.HealthReport) -> None:
        if one.inflight:
            raise InvalidRequest("the report cannot be read", field="report")

    intake = ReportThrottle(read, interval_s=0.2)
    intake.take(report(0))
    intake.take(report(1))
    await asyncio.sleep(3 * PACE * 0.2)
    with pytest.raises(InvalidRequest):
        await intake.pause()
    intake.close()


async def test_a_stream_that_has_ended_reads_nothing_more() -> None:
    read: list[int] = []
    intake = ReportThrottle(lambda one: read.append(one.inflight), interval_s=0.2)
    intake.take(report(0))
    intake.take(report(1))
    intake.close()
    await asyncio.sleep(3 * PACE * 0.2)
    assert read == [0]
