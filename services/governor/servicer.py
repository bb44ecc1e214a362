"""GovernorService: translates between the wire and the governor's core."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc

from services.governor.governor import Governor
from services.governor.membership_table import IdTaken
from services.governor.override_request import to_override
from sluice.errors import InvalidRequest, ShuttingDown, SluiceError
from sluice.fleet import Registration
from sluice.fleet_wire import directive_to_proto, fleet_to_proto, registration_from_proto, report_from_proto
from sluice.status import abort, duration, seconds_of
from sluice.tier import MemberKind
from sluice.v1 import governor_service_pb2 as governor_pb2
from sluice.v1 import governor_service_pb2_grpc as governor_grpc

SERVICE = "sluice.v1.GovernorService"
SMALLEST_INTERVAL_S = 0.05
DEFAULT_WATCH_INTERVAL_S = 1.0
LAST_WRITE_S = 1.0
LAST_EPOCH = 2**64 - 1
Context = grpc.aio.ServicerContext[Any, Any]


class GovernorServicer(governor_grpc.GovernorServiceServicer):
    """One governor's face."""

    def __init__(self, governor: Governor) -> None:
        self._governor = governor

    async def Join(self, request_iterator: AsyncIterator[governor_pb2.JoinRequest], context: Context) -> None:
        """The life of one member."""
        try:
            registration = await _registration(request_iterator)
            ticket = self._governor.join(registration)
        except SluiceError as error:
            await abort(context, error)
        except IdTaken as error:
            await context.abort(grpc.StatusCode.ALREADY_EXISTS, str(error))
        reader = asyncio.create_task(self._read(request_iterator, registration.id, ticket))
        writer = asyncio.create_task(self._write(context, registration, ticket))
        try:
            await asyncio.wait({reader, writer}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            lost_its_place = not self._governor.table.holds(registration.id, ticket)
            # Leaving wakes the writer, which ends between two messages: a call cannot be ended in the middle of one.
            self._governor.leave(registration.id, ticket)
            reader.cancel()
            await asyncio.wait({writer}, timeout=LAST_WRITE_S)
            writer.cancel()
            await asyncio.gather(reader, writer, return_exceptions=True)
        try:
            for task in (reader, writer):
                if not task.cancelled():
                    task.result()
        except SluiceError as error:
            await abort(context, error)
        if self._governor.closing:
            await abort(context, ShuttingDown("this governor is shutting down"))
        if lost_its_place:
            await context.abort(grpc.StatusCode.ABORTED, "the member has a newer stream, or was silent for too long")

    async def WatchFleet(
        self, request: governor_pb2.WatchFleetRequest, context: Context
    ) -> AsyncIterator[governor_pb2.WatchFleetResponse]:
        """The fleet, at once and whenever it changes."""
        interval_s = seconds_of(request.interval) if request.HasField("interval") else DEFAULT_WATCH_INTERVAL_S
        while not self._governor.closing:
            seen = self._governor.changes
            yield governor_pb2.WatchFleetResponse(fleet=fleet_to_proto(self._governor.fleet()))
            await asyncio.sleep(SMALLEST_INTERVAL_S)
            await self._governor.change(since=seen, timeout_s=max(0.0, interval_s - SMALLEST_INTERVAL_S))
        await abort(context, ShuttingDown("this governor is shutting down"))

    async def SetDegradation(
        self, request: governor_pb2.SetDegradationRequest, context: Context
    ) -> governor_pb2.SetDegradationResponse:
        """The operator's hand."""
        try:
            wanted = to_override(request)
        except SluiceError as error:
            await abort(context, error)
        if wanted is None:
            directive = self._governor.clear(f"operator: {request.reason or 'cleared'}")
        else:
            directive = self._governor.override(wanted, duration_s=seconds_of(request.duration))
        return governor_pb2.SetDegradationResponse(directive=directive_to_proto(directive))

    async def _read(self, requests: AsyncIterator[governor_pb2.JoinRequest], member_id: str, ticket: int) -> None:
        async for request in requests:
            if not self._governor.table.holds(member_id, ticket):
                return
            kind = request.WhichOneof("kind")
            if kind == "report":
                try:
                    report = report_from_proto(request.report)
                except ValueError as error:
                    raise InvalidRequest(f"the report cannot be read: {error}", field="report") from error
                self._governor.report(member_id, report)
            elif kind == "ack":
                self._governor.acknowledge(member_id, (request.ack.epoch, request.ack.revision))
            else:
                raise InvalidRequest("a stream has one registration, and reports and acks after it", field="kind")

    async def _write(self, context: Context, registration: Registration, ticket: int) -> None:
        governor = self._governor
        sent_fleet = 0
        sent_version = (0, 0)
        loop = asyncio.get_running_loop()
        renew_at = 0.0
        report_interval = duration(governor.config.report_interval_ms / 1000)
        while governor.table.holds(registration.id, ticket) and not governor.closing:
            seen = governor.changes
            directive = governor.controller.current
            if directive.version != sent_version or loop.time() >= renew_at:
                sent_version = directive.version
                renew_at = loop.time() + governor.config.renew_interval_ms / 1000
                message = governor_pb2.JoinResponse(
                    directive=directive_to_proto(directive), report_interval=report_interval
                )
                await context.write(message)
            if registration.kind is MemberKind.ROUTER and governor.table.revision != sent_fleet:
                sent_fleet = governor.table.revision
                await context.write(governor_pb2.JoinResponse(fleet=fleet_to_proto(governor.fleet())))
            await governor.change(since=seen, timeout_s=max(0.0, renew_at - loop.time()))


async def _registration(requests: AsyncIterator[governor_pb2.JoinRequest]) -> Registration:
    first = await anext(aiter(requests), None)
    if first is None or not first.HasField("registration"):
        raise InvalidRequest("the first message of a member is its registration", field="registration")
    try:
        registration = registration_from_proto(first.registration)
    except ValueError as error:
        raise InvalidRequest(f"the registration cannot be read: {error}", field="registration") from error
    if registration.obeyed is not None and registration.obeyed.epoch >= LAST_EPOCH:
        raise InvalidRequest("no epoch is greater than the one that is obeyed", field="registration.obeyed.epoch")
    for field in ("id", "address"):
        if not getattr(registration, field):
            raise InvalidRequest(f"a member needs an {field}", field=f"registration.{field}")
    return registration
