"""GovernorService: translates between the wire and the governor's core.

WatchFleet's responses are bytes, made once for all who watch.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc

from services.governor.governor import Governor
from services.governor.intake import Intake
from services.governor.leadership import Superseded
from services.governor.membership_table import FleetFull, IdTaken
from services.governor.override_request import to_override
from services.governor.watchers import SMALLEST_INTERVAL_S, Watchers
from sluice.directive_wire import directive_to_proto, transition_to_proto
from sluice.errors import InvalidRequest, ShuttingDown, SluiceError
from sluice.fleet import Registration
from sluice.fleet_wire import fleet_to_proto, registration_from_proto, report_from_proto
from sluice.runtime.message_handlers import MessageHandlers
from sluice.status import abort, duration, seconds_of
from sluice.tier import MemberKind
from sluice.v1 import governor_service_pb2 as governor_pb2
from sluice.v1 import health_pb2

SERVICE = "sluice.v1.GovernorService"
DEFAULT_WATCH_INTERVAL_S = 1.0
LAST_WRITE_S = 1.0
# A message of so many stays well within the 4 MiB that clients take by default.
MOST_HISTORY = 5_000
# How soon a directive is sent again to a member that has not acknowledged it.
RESEND_S = 0.2
LAST_EPOCH = 2**64 - 1
Context = grpc.aio.ServicerContext[Any, Any]


class GovernorServicer:
    """One governor's face."""

    def __init__(self, governor: Governor) -> None:
        self._governor = governor
        self._watchers = Watchers(
            governor.fleet, most=governor.config.max_watchers, clock=asyncio.get_running_loop().time
        )

    def handler(self) -> grpc.GenericRpcHandler[Any, Any]:
        """What the server is given. WatchFleet's responses are bytes already."""
        handlers = MessageHandlers(SERVICE)
        methods = {
            "Join": handlers.stream_stream(governor_pb2.JoinRequest, self.join),
            "WatchFleet": handlers.unary_stream(governor_pb2.WatchFleetRequest, self.watch_fleet),
            "SetDegradation": handlers.unary_unary(governor_pb2.SetDegradationRequest, self.set_degradation),
        }
        return handlers.handler(methods)

    async def join(self, request_iterator: AsyncIterator[governor_pb2.JoinRequest], context: Context) -> None:
        """The life of one member."""
        registration, ticket = await self._seat(request_iterator, context)
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
        if self._governor.stands_by:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "another governor directs the fleet; dial again")
        if lost_its_place:
            await context.abort(grpc.StatusCode.ABORTED, "the member has a newer stream, or was silent for too long")

    async def watch_fleet(self, request: governor_pb2.WatchFleetRequest, context: Context) -> AsyncIterator[bytes]:
        """The fleet, at once and whenever it changes; with `history`, the changes of levels too."""
        governor = self._governor
        interval_s = seconds_of(request.interval) if request.HasField("interval") else DEFAULT_WATCH_INTERVAL_S
        try:
            with self._watchers.one_more():
                recorded = governor.history.recorded
                transitions = governor.history.last(min(request.history, MOST_HISTORY))
                while not governor.closing:
                    seen = governor.changes
                    # Messages of one type that are put one behind the other are one message with the fields of both.
                    response = governor_pb2.WatchFleetResponse(transitions=map(transition_to_proto, transitions))
                    yield self._watchers.message(seen) + response.SerializeToString()
                    await asyncio.sleep(SMALLEST_INTERVAL_S)
                    await governor.change(since=seen, timeout_s=max(0.0, interval_s - SMALLEST_INTERVAL_S))
                    transitions = governor.history.since(recorded) if request.history else []
                    recorded = governor.history.recorded
        except SluiceError as error:
            await abort(context, error)
        await abort(context, ShuttingDown("this governor is shutting down"))

    async def set_degradation(
        self, request: governor_pb2.SetDegradationRequest, context: Context
    ) -> governor_pb2.SetDegradationResponse:
        """The operator's hand."""
        try:
            wanted = to_override(request)
        except SluiceError as error:
            await abort(context, error)
        try:
            if wanted is None:
                directive = self._governor.clear(f"operator: {request.reason or 'cleared'}")
            else:
                directive = self._governor.override(wanted, duration_s=seconds_of(request.duration))
        except Superseded as error:
            await context.abort(grpc.StatusCode.UNAVAILABLE, str(error))
        return governor_pb2.SetDegradationResponse(directive=directive_to_proto(directive))

    async def _seat(
        self, requests: AsyncIterator[governor_pb2.JoinRequest], context: Context
    ) -> tuple[Registration, int]:
        try:
            registration = await _registration(requests)
            return registration, self._governor.join(registration)
        except SluiceError as error:
            await abort(context, error)
        except IdTaken as error:
            code, why = grpc.StatusCode.ALREADY_EXISTS, str(error)
        except FleetFull as error:
            code, why = grpc.StatusCode.RESOURCE_EXHAUSTED, str(error)
        except Superseded as error:
            code, why = grpc.StatusCode.UNAVAILABLE, str(error)
        await context.abort(code, why)
        raise AssertionError("abort returned")

    async def _read(self, requests: AsyncIterator[governor_pb2.JoinRequest], member_id: str, ticket: int) -> None:
        governor = self._governor

        def read(message: health_pb2.HealthReport) -> None:
            if not governor.table.holds(member_id, ticket):
                return
            try:
                report = report_from_proto(message)
            except ValueError as error:
                raise InvalidRequest(f"the report cannot be read: {error}", field="report") from error
            governor.report(member_id, report)

        intake = Intake(read, interval_s=governor.config.report_interval_ms / 1000)
        try:
            async for request in requests:
                if not governor.table.holds(member_id, ticket):
                    return
                await intake.pause()
                kind = request.WhichOneof("kind")
                if kind == "report":
                    intake.take(request.report)
                elif kind == "ack":
                    governor.acknowledge(member_id, (request.ack.epoch, request.ack.revision))
                else:
                    raise InvalidRequest("a stream has one registration, and reports and acks after it", field="kind")
        finally:
            intake.close()

    async def _write(self, context: Context, registration: Registration, ticket: int) -> None:
        governor = self._governor
        sent_fleet = 0
        sent_version = (0, 0)
        loop = asyncio.get_running_loop()
        due_at = 0.0
        report_interval = duration(governor.config.report_interval_ms / 1000)
        renew_s = governor.config.renew_interval_ms / 1000
        while governor.table.holds(registration.id, ticket) and not governor.closing and not governor.stands_by:
            seen = governor.changes
            directive = governor.controller.current
            if directive.version != sent_version or loop.time() >= due_at:
                sent_version = directive.version
                message = governor_pb2.JoinResponse(
                    directive=directive_to_proto(directive), report_interval=report_interval
                )
                await context.write(message)
                due_at = loop.time() + renew_s
            if registration.kind is MemberKind.ROUTER and governor.table.revision != sent_fleet:
                sent_fleet = governor.table.revision
                await context.write(governor_pb2.JoinResponse(fleet=fleet_to_proto(governor.fleet())))
            wait_s = max(0.0, due_at - loop.time())
            if governor.owes(registration.id):
                wait_s = min(wait_s, RESEND_S)
                due_at = loop.time() + wait_s
            await governor.change(since=seen, timeout_s=wait_s)


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
