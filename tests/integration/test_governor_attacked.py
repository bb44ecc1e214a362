"""A governor under clients that break every rule: they are refused by name, and whoever keeps the rules is directed."""

from __future__ import annotations

import logging

import grpc
import pytest

from services.governor.servicer import SERVICE
from sluice.v1 import governor_service_pb2 as governor_pb2
from tests.integration.live_governor import governing, member
from tests.unit.polling import until
from tests.unit.streams import end_of

CARD = governor_pb2.JoinRequest(registration={"id": "w", "kind": 3, "address": "10.0.0.1:1"}).SerializeToString()
UNREAD = b"\x0a\x02\x0a\xff"


async def test_bytes_that_are_no_message_are_refused_by_every_method_without_a_traceback(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with governing() as (governor, address), member(address, "a"), grpc.aio.insecure_channel(address) as raw:
        await until(governor.table.members)
        with caplog.at_level(logging.WARNING):
            for _ in range(30):
                calls = (
                    raw.unary_unary(f"/{SERVICE}/SetDegradation")(UNREAD),
                    raw.unary_stream(f"/{SERVICE}/WatchFleet")(UNREAD),
                    raw.stream_stream(f"/{SERVICE}/Join")(iter([UNREAD])),
                    raw.stream_stream(f"/{SERVICE}/Join")(iter([CARD, UNREAD])),
                )
                codes = [await calls[0].code(), *[await end_of(call) for call in calls[1:]]]
                assert codes == [grpc.StatusCode.INVALID_ARGUMENT] * 4
        assert sum(record.levelno >= logging.WARNING for record in caplog.records) <= 2
        await until(lambda: [one.id for one in governor.table.members()] == ["a"])
