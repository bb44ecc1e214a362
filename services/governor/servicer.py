"""GovernorService: translates between the wire and the governor's core.

WatchFleet's responses are bytes, made once for all who watch.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator
from typing import Any

import grpc

from services.governor.control_loop import Governor
from services.governor.fleet_watch import SMALLEST_INTERVAL_S, SnapshotCache, WatchLimiter
from services.governor.leadership import Superseded
from services.governor.members import DuplicateMemberId, TooManyMembers
from services.governor.report_throttle import ReportThrottle
from sluice.control import bounds
from sluice.control.bounds import MAX_WATCH_INTERVAL_S, field_of
from sluice.control.codec import directive_to_proto, registration_from_proto, report_from_proto
from sluice.control.directive import Directive
from sluice.control.epochs import LAST_EPOCH
from sluice.control.fleet import DepartureReason, Registration
from sluice.control.identity import mesh_named
from sluice.domain.enums import Level, MemberKind, Precision
from sluice.domain.errors import InvalidRequest, Saturated, ShuttingDown, SluiceError
from sluice.domain.status import abort, abort_with, duration, seconds_of
from sluice.transport.message_handlers import MessageHandlers
from sluice.v1 import governor_service_pb2 as governor_pb2
from sluice.v1 import health_pb2

# An operator's request as a directive, checked against the contract.


LONGEST_S = 86_400.0


def override_from_proto(request: governor_pb2.SetDegradationRequest) -> Directive | None:
    """What the operator wants to hold, or None to clear. Raises InvalidRequest naming the field."""
    _check_reason(request.reason)
    if not request.HasField("degradation"):
        return None
    wanted = request.degradation
    try:
        levels = bounds.levels("degradation.levels", wanted.levels)
    except ValueError as error:
        raise InvalidRequest(str(error), field="degradation.levels") from error
    try:
        precision = Precision(wanted.precision)
    except ValueError as error:
        raise InvalidRequest(str(error), field="degradation.precision") from error
    if precision is not Precision.OWN and Level.LIGHTEN not in levels:
        raise InvalidRequest(
            "a precision is ordered by level LIGHTEN, which is not there", field="degradation.precision"
        )
    duration_s = seconds_of(request.duration)
    if not 0 < duration_s <= LONGEST_S:
        raise InvalidRequest("an override lasts more than nothing and at most a day", field="duration")
    # A level that is in force without a number of its own acts fully; written so that NaN fails the checks.
    shares = {
        "offload_share": wanted.offload_share or (1.0 if Level.OFFLOAD in levels else 0.0),
        "lighten_share": wanted.lighten_share or (1.0 if Level.LIGHTEN in levels and not precision else 0.0),
    }
    for field, value in shares.items():
        if not 0.0 <= value <= 1.0:
            raise InvalidRequest(f"{field} is {value}, and must lie in [0, 1]", field=f"degradation.{field}")
    if Level.ADMIT in levels and not wanted.admit_scale:
        raise InvalidRequest("level ADMIT needs the scale it puts on the limit", field="degradation.admit_scale")
    admit_scale = wanted.admit_scale or 1.0
    if not 0.0 < admit_scale <= 1.0:
        raise InvalidRequest(f"admit_scale is {admit_scale}, and must lie in (0, 1]", field="degradation.admit_scale")
    return Directive(
        epoch=0,
        revision=0,
        levels=levels,
        admit_scale=admit_scale,
        precision=precision,
        reason=f"operator: {request.reason or 'no reason given'}",
        **shares,
    )


def _check_reason(reason: str) -> None:
    try:
        bounds.text("reason", reason, most=bounds.MAX_OPERATOR_REASON_BYTES)
    except ValueError as error:
        raise InvalidRequest(str(error), field="reason") from error


SERVICE = "sluice.v1.GovernorService"
DEFAULT_WATCH_INTERVAL_S = 1.0
LAST_WRITE_S = 1.0
# A message of so many stays well within the 4 MiB that clients take by default.
MOST_HISTORY = 5_000
# How soon a directive is sent again to a member that has not acknowledged it.
RESEND_S = 0.2
# How long a member is given to show that it lives when another process wants its id or address.
CHALLENGE_S = 0.5
CHALLENGE_POLL_S = 0.02
# A stream that broke is read to its end a moment before its handler is cancelled; one that was half-closed is not.
SETTLE_S = 0.05
# When a member for whom there is no room may ask again.
RETRY_AFTER_S = 5.0
# A fleet is sent to a router no sooner than so many times the time that the one before it took.
FLEET_REST = 4.0
# The most bytes of each of the strings in a registration.
LONGEST = {"id": 256, "address": 512, "boot": 64, "mesh": 128}
Context = grpc.aio.ServicerContext[Any, Any]


class GovernorServicer:
    """One governor's face."""

    def __init__(self, governor: Governor) -> None:
        self._governor = governor
        self._snapshots = SnapshotCache(governor.fleet, clock=asyncio.get_running_loop().time)
        self._watchers = WatchLimiter(self._snapshots, most=governor.config.max_watchers)
        self._challenged: set[int] = set()

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
        reason = DepartureReason.LOST
        try:
            await asyncio.wait({reader, writer}, return_when=asyncio.FIRST_COMPLETED)
            reason = await _why_it_goes(reader)
        finally:
            lost_its_place = not self._governor.table.holds(registration.id, ticket)
            # Leaving wakes the writer, which ends between two messages: a call cannot be ended in the middle of one.
            self._governor.leave(registration.id, ticket, reason)
            reader.cancel()
            _, stuck = await asyncio.wait({writer}, timeout=LAST_WRITE_S)
            writer.cancel()
            await asyncio.gather(reader, writer, return_exceptions=True)
        if stuck:
            # A member that does not read is not told its end either: gRPC takes no status behind a message that waits.
            raise asyncio.CancelledError
        try:
            for task in (reader, writer):
                if not task.cancelled():
                    task.result()
        except SluiceError as error:
            await abort(context, error)
        if self._governor.closing:
            await abort(context, ShuttingDown("this governor is shutting down"))
        if self._governor.is_standby:
            await abort_with(context, grpc.StatusCode.UNAVAILABLE, "another governor directs the fleet; dial again")
        if lost_its_place:
            why = "the member has a newer stream, or was silent for too long"
            await abort_with(context, grpc.StatusCode.ABORTED, why)

    async def watch_fleet(self, request: governor_pb2.WatchFleetRequest, context: Context) -> AsyncIterator[bytes]:
        """The fleet, at once and whenever it changes; with `history`, the changes of levels too."""
        governor = self._governor
        interval_s = seconds_of(request.interval) if request.HasField("interval") else DEFAULT_WATCH_INTERVAL_S
        interval_s = min(interval_s, MAX_WATCH_INTERVAL_S)
        try:
            with self._watchers.one_more():
                recorded = governor.history.recorded
                transitions = governor.history.last(min(request.history, MOST_HISTORY))
                while not governor.closing:
                    seen = governor.changes
                    for message in self._watchers.messages(seen, transitions):
                        yield message
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
            wanted = override_from_proto(request)
        except SluiceError as error:
            await abort(context, error)
        try:
            if wanted is None:
                directive = self._governor.clear(f"operator: {request.reason or 'cleared'}")
            else:
                directive = self._governor.override(wanted, duration_s=seconds_of(request.duration))
        except Superseded as error:
            await abort_with(context, grpc.StatusCode.UNAVAILABLE, str(error))
        return governor_pb2.SetDegradationResponse(directive=directive_to_proto(directive))

    async def _seat(
        self, requests: AsyncIterator[governor_pb2.JoinRequest], context: Context
    ) -> tuple[Registration, int]:
        try:
            registration = await _registration(requests)
            own, theirs = self._governor.config.mesh, mesh_named(registration.mesh)
            if theirs != own:
                why = f"this governor directs mesh '{own}', and '{registration.id}' belongs to mesh '{theirs}'"
                await abort_with(context, grpc.StatusCode.FAILED_PRECONDITION, why)
            return registration, await self._join(registration)
        except SluiceError as error:
            await abort(context, error)
        except DuplicateMemberId as error:
            code, why = grpc.StatusCode.ALREADY_EXISTS, str(error)
        except TooManyMembers as error:
            code, why = grpc.StatusCode.RESOURCE_EXHAUSTED, str(error)
        except Superseded as error:
            code, why = grpc.StatusCode.UNAVAILABLE, str(error)
        await abort_with(context, code, why)
        raise AssertionError("abort returned")

    async def _join(self, registration: Registration) -> int:
        """Seat a member, in the place of other processes under its id or address if those do not answer any more."""
        gone: set[int] = set()
        # A process may have the id and another one the address.
        for _ in range(2):
            rivals = self._governor.rivals(registration)
            # Who says no boot id cannot be told from its successor, and keeps its place until it is silent.
            asked = [one for one in rivals if one.ticket not in gone and one.member.boot and registration.boot]
            if not asked or await self._any_answers([(seat.member.id, seat.ticket) for seat in asked]):
                break
            gone.update(seat.ticket for seat in asked)
        return self._governor.join(registration, succeeds=frozenset(gone))

    async def _any_answers(self, places: list[tuple[str, int]]) -> bool:
        """Send the members at `places` the directive, which they acknowledge; whether one is heard of in time."""
        loop, table = asyncio.get_running_loop(), self._governor.table
        before = {ticket: table.last_message_at(name, ticket) for name, ticket in places}
        self._challenged.update(before)
        self._governor.wake()
        give_up_at = loop.time() + CHALLENGE_S
        try:
            while loop.time() < give_up_at and any(table.holds(*place) for place in places):
                await asyncio.sleep(CHALLENGE_POLL_S)
                if any(table.last_message_at(name, ticket) > before[ticket] for name, ticket in places):
                    return True
        finally:
            self._challenged.difference_update(before)
        return False

    async def _read(self, requests: AsyncIterator[governor_pb2.JoinRequest], member_id: str, ticket: int) -> None:
        governor = self._governor

        def read(message: health_pb2.HealthReport) -> None:
            if not governor.table.holds(member_id, ticket):
                return
            try:
                report = report_from_proto(message)
            except ValueError as error:
                raise _invalid(error, inside="report") from error
            try:
                governor.report(member_id, report)
            except TooManyMembers as error:
                raise Saturated(str(error), retry_after_s=RETRY_AFTER_S) from None

        intake = ReportThrottle(read, interval_s=governor.config.report_interval_ms / 1000)
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
        sent_version = (0, 0)
        loop = asyncio.get_running_loop()
        due_at = 0.0
        report_interval = duration(governor.config.report_interval_ms / 1000)
        renew_s = governor.config.renew_interval_ms / 1000
        fleets = _FleetSender(self._snapshots, governor) if registration.kind is MemberKind.ROUTER else None
        while governor.table.holds(registration.id, ticket) and not governor.closing and not governor.is_standby:
            seen = governor.changes
            directive = governor.controller.current
            if directive.version != sent_version or loop.time() >= due_at or ticket in self._challenged:
                self._challenged.discard(ticket)
                sent_version = directive.version
                message = governor_pb2.JoinResponse(
                    directive=directive_to_proto(directive), report_interval=report_interval, mesh=governor.config.mesh
                )
                await context.write(message)
                due_at = loop.time() + renew_s
            wait_s = await fleets.send(context) if fleets is not None else math.inf
            wait_s = min(wait_s, max(0.0, due_at - loop.time()))
            if governor.owes(registration.id):
                wait_s = min(wait_s, RESEND_S)
                due_at = min(due_at, loop.time() + RESEND_S)
            await governor.change(since=seen, timeout_s=wait_s)


class _FleetSender:
    """Sends one router the fleet when it has changed, and leaves the governor time for others after a large one."""

    def __init__(self, snapshots: SnapshotCache, governor: Governor) -> None:
        self._snapshots = snapshots
        self._governor = governor
        self._sent = 0
        self._not_before = 0.0

    async def send(self, context: Context) -> float:
        """Send the fleet if it is due; returns for how many seconds one that has changed has to wait."""
        loop, revision = asyncio.get_running_loop(), self._governor.table.revision
        if revision == self._sent:
            return math.inf
        begun_at = loop.time()
        if begun_at < self._not_before:
            return self._not_before - begun_at
        self._sent = revision
        for message in self._snapshots.for_routers(self._governor.changes):
            await context.write(message)
        now = loop.time()
        self._not_before = now + FLEET_REST * (now - begun_at)
        return math.inf


async def _why_it_goes(reader: asyncio.Task[None]) -> DepartureReason:
    """Why a member's stream ends, of which `reader` reads what it says. Is cancelled with the stream if that broke."""
    if not reader.done():
        # The governor closes, stands by, or cannot write: the member has done nothing.
        return DepartureReason.LOST
    if reader.exception() is not None:
        # A member for whom there is no room works, and stays in use where it is known.
        why = reader.exception()
        is_its_fault = isinstance(why, SluiceError) and not isinstance(why, Saturated)
        return DepartureReason.REMOVED if is_its_fault else DepartureReason.LOST
    await asyncio.sleep(SETTLE_S)
    return DepartureReason.LEFT


async def _registration(requests: AsyncIterator[governor_pb2.JoinRequest]) -> Registration:
    first = await anext(aiter(requests), None)
    if first is None or not first.HasField("registration"):
        raise InvalidRequest("the first message of a member is its registration", field="registration")
    try:
        registration = registration_from_proto(first.registration)
    except ValueError as error:
        raise _invalid(error, inside="registration") from error
    if registration.obeyed is not None and registration.obeyed.epoch >= LAST_EPOCH:
        raise InvalidRequest("no epoch is greater than the one that is obeyed", field="registration.obeyed.epoch")
    for field in ("id", "address"):
        if not getattr(registration, field):
            raise InvalidRequest(f"a member needs an {field}", field=f"registration.{field}")
    for field, most in LONGEST.items():
        if len(getattr(registration, field).encode()) > most:
            raise InvalidRequest(f"{field} may take {most} bytes", field=f"registration.{field}")
    return registration


def _invalid(error: ValueError, *, inside: str) -> InvalidRequest:
    name = field_of(error, otherwise="")
    return InvalidRequest(f"{inside}: {error}", field=f"{inside}.{name}" if name else inside)
