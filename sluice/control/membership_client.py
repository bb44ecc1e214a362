"""A member's end of `GovernorService.Join`: report upwards, obey and acknowledge what comes down, dial again for ever.

Nothing waits for the governor. While it is silent or gone the member goes on as it was, and no queue grows: a report
is made when it is sent. Where the governor's name has several addresses they are dialled in turn, because only one of
several governors directs; and the name is looked up again while a stream is open.
"""

from __future__ import annotations

import asyncio
import logging
import math
import random
import time
from collections.abc import AsyncIterable, AsyncIterator, Callable, Mapping
from dataclasses import replace
from typing import Any

import grpc

from sluice.control.bounds import MAX_REPORT_INTERVAL_S, MIN_REPORT_INTERVAL_S
from sluice.control.codec import directive_from_proto, registration_to_proto, report_to_proto
from sluice.control.degradation.report import Report
from sluice.control.directive import ActiveDirective, Directive, Verdict
from sluice.control.fleet import Registration
from sluice.control.identity import MESH_VARIABLE, mesh_named
from sluice.control.roster import Roster, roster_from_proto
from sluice.control.snapshot import SnapshotReader
from sluice.domain.status import seconds_of
from sluice.runtime.channel import peer_channel
from sluice.runtime.logging import LimitedLog
from sluice.transport.message_handlers import Unreadable, parse
from sluice.transport.resolver import RESOLVE_INTERVAL_S, ResolveError, Resolver, follow, is_literal
from sluice.v1 import degradation_pb2, governor_service_pb2, health_pb2

logger = logging.getLogger(__name__)


# The addresses of one peer that is known by a name: which to dial, and whether the one in use still counts.


def after(known: Mapping[str, int], failed: str) -> str:
    """Which of the addresses in `known` to dial when `failed` could not be reached: the next one, in turn.

    An address that is not known any more, or was never dialled, is followed by the first. Empty if none is known.
    """
    addresses = sorted(known)
    if not addresses:
        return ""
    later = [one for one in addresses if one > failed]
    return later[0] if failed in known and later else addresses[0]


class PeerAddresses:
    """One name's addresses. A resolver that fails changes nothing: the last answer holds."""

    def __init__(self, name: str, resolver: Resolver) -> None:
        self._name = name
        self._resolver = resolver
        self._known: dict[str, int] = {}
        self._current = ""

    async def refresh(self) -> str:
        """Look the name up again; returns why that failed, empty if it did not."""
        try:
            answer = await self._resolver.resolve(self._name)
        except ResolveError as error:
            return str(error)
        self._known = follow(self._known, answer)
        return ""

    @property
    def current(self) -> str:
        """The address to dial; it stays until it fails or leaves the name. Empty while none is known."""
        if self._current not in self._known:
            self._current = after(self._known, self._current)
        return self._current

    def failed(self) -> None:
        """The current address could not be reached: go on to the next one."""
        self._current = after(self._known, self._current)


JOIN = "/sluice.v1.GovernorService/Join"
FIRST_BACKOFF_S = 0.1
# The channel dials by its own, longer law, up to a second apart: asking it costs nothing, and both together must let a
# governor that has come back have its fleet within two.
MAX_BACKOFF_S = 0.5
# How long a member stays with a governor whose epoch is implausible before it dials again, to look for another one.
LOOK_AGAIN_S = 30.0
DEFAULT_REPORT_INTERVAL_S = 0.5
# How soon a member asks again that the governor will not have as it is.
REFUSED_BACKOFF_S = 2.0
# How long a member that leaves waits for the governor to have heard it.
LEAVE_S = 0.5
# How long a member must have been one for its next refusal to be news.
SETTLED_S = 10.0
WHAT_TO_DO = {
    grpc.StatusCode.INVALID_ARGUMENT: "correct what the message names; all programs of a mesh should be of one release",
    grpc.StatusCode.RESOURCE_EXHAUSTED: "raise the bound of the governor that the message names, and its memory",
    grpc.StatusCode.ALREADY_EXISTS: "give every process an `id` and an `advertise` of its own, or stop the other one",
    grpc.StatusCode.FAILED_PRECONDITION: (
        f"set `mesh` ({MESH_VARIABLE}) alike in all programs of one mesh, or `governor` to the one of its own mesh"
    ),
}


class _Refused(Exception):
    """The governor at the other end must not direct this member now."""


class _WrongMesh(Exception):
    """The governor directs another mesh."""


class GovernorClient:
    """One member's place in the fleet. `on_roster` is called on the loop with every fleet that a router is sent."""

    def __init__(
        self,
        governor: str,
        registration: Registration,
        *,
        report: Callable[[], Report],
        directives: ActiveDirective,
        on_roster: Callable[[Roster], None] | None = None,
        resolver: Resolver | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.joined = False
        self._joined_at = -math.inf
        self._governor = governor
        self._registration = registration
        self._report = report
        self._directives = directives
        self._on_roster = on_roster
        self._addresses = PeerAddresses(governor, resolver or Resolver())
        self._fleets = SnapshotReader()
        self._report_interval_s = DEFAULT_REPORT_INTERVAL_S
        self._clock = clock
        self._wake = asyncio.Event()
        self._must_ack = False
        self._must_report = False
        self._log = LimitedLog(logger)
        self._was_refused: grpc.StatusCode | None = None
        self._logged_refusal = ""
        self._said_unresolved = False

    def kick(self) -> None:
        """Report now rather than at the next interval: something has changed that others decide by."""
        self._must_report = True
        self._wake.set()

    async def run(self) -> None:
        """Be a member until cancelled, then leave. The governor's troubles are logged once each and never raised."""
        backoff_s = FIRST_BACKOFF_S
        while True:
            address = await self._resolved()
            if address:
                async with peer_channel(address, authority=self._governor) as channel:
                    # A channel dials by its own law, so it is kept for as long as its address is.
                    while address == self._addresses.current:
                        self._was_refused = None
                        has_joined = await self._try(channel)
                        backoff_s = FIRST_BACKOFF_S if has_joined else min(MAX_BACKOFF_S, backoff_s * 2)
                        await asyncio.sleep(self._pause_s(backoff_s))
                        if not is_literal(self._governor):
                            await self._addresses.refresh()
            else:
                await asyncio.sleep(self._pause_s(MAX_BACKOFF_S))

    def _pause_s(self, backoff_s: float) -> float:
        backoff_s = REFUSED_BACKOFF_S if self._was_refused is not None else backoff_s
        return backoff_s * random.uniform(0.5, 1.0)  # noqa: S311  jitter

    async def _resolved(self) -> str:
        why = await self._addresses.refresh()
        if why and not self._said_unresolved:
            logger.warning("the governor's name cannot be resolved", extra={"governor": self._governor, "why": why})
        self._said_unresolved = bool(why)
        return self._addresses.current

    async def _try(self, channel: grpc.aio.Channel) -> bool:
        """One stream, to its end; whether it made this a member for a while. If it did not, the next address is due."""
        begun_at = self._clock()
        why = await self._one_stream(channel)
        has_joined, self.joined = self.joined, False
        if has_joined and self._clock() - begun_at > SETTLED_S:
            self._logged_refusal = ""
        if has_joined and self._was_refused is None:
            logger.warning("governor lost", extra={"governor": self._governor, "why": why})
        if not has_joined:
            self._addresses.failed()
        return has_joined

    async def _one_stream(self, channel: grpc.aio.Channel) -> str:
        over = asyncio.Event()
        self._fleets = SnapshotReader()
        serialize = governor_service_pb2.JoinRequest.SerializeToString
        # Responses are read here: gRPC hands on None for one that cannot be read.
        join: Any = channel.stream_stream(JOIN, request_serializer=serialize, response_deserializer=None)
        call = join(self._requests(over))
        reading = asyncio.create_task(self._read(call))
        following = asyncio.create_task(self._until_moved())
        try:
            await asyncio.wait({reading, following}, return_when=asyncio.FIRST_COMPLETED)
            return reading.result() if reading.done() else "its address is no longer one of the governor's name"
        except asyncio.CancelledError:
            # The end of the requests half-closes the stream, by which a member says that it leaves.
            over.set()
            self._wake.set()
            if self.joined and not reading.done():
                await asyncio.wait({reading}, timeout=LEAVE_S)
            raise
        finally:
            following.cancel()
            call.cancel()
            # grpc.aio leaves a call's request iterator waiting when the call ends by itself.
            over.set()
            self._wake.set()
            reading.cancel()
            await asyncio.gather(reading, following, return_exceptions=True)

    async def _read(self, call: AsyncIterable[bytes]) -> str:
        """Do what comes, until the stream ends; returns why it did."""
        try:
            async for data in call:
                self._accept(parse(governor_service_pb2.JoinResponse, data))
        except grpc.aio.AioRpcError as error:
            if error.code() in WHAT_TO_DO:
                self._refused(error.code(), error.details() or "")
            return f"{error.code().name}: {error.details()}"
        except _WrongMesh as error:
            self._refused(grpc.StatusCode.FAILED_PRECONDITION, str(error))
            return str(error)
        except _Refused as error:
            return str(error)
        except Unreadable as error:
            return f"the governor sent what cannot be read: {error.message}"
        except ValueError as error:
            return f"the governor says what this member does not know: {error}"
        return "the governor ended the stream"

    async def _until_moved(self) -> None:
        """Return when the address that is dialled is no longer one of the governor's name, and others are."""
        dialled = self._addresses.current
        if is_literal(self._governor):
            await asyncio.Event().wait()
        while dialled == self._addresses.current:
            await asyncio.sleep(RESOLVE_INTERVAL_S)
            await self._addresses.refresh()

    def _refused(self, code: grpc.StatusCode, why: str) -> None:
        self._was_refused = code
        if self._logged_refusal != why:
            self._logged_refusal = why
            extra = {"governor": self._governor, "why": why, "what_to_do": WHAT_TO_DO[code]}
            logger.error("the governor refuses this member", extra=extra)

    async def _requests(self, over: asyncio.Event) -> AsyncIterator[governor_service_pb2.JoinRequest]:
        directives = self._directives
        is_directed = not directives.is_autonomous(self._clock())
        registration = replace(self._registration, obeyed=directives.obeyed, is_directed=is_directed)
        yield governor_service_pb2.JoinRequest(registration=registration_to_proto(registration))
        self._must_report = True
        while True:
            if self._must_report:
                self._must_report = False
                report = self._try_report()
                if report is not None:
                    yield governor_service_pb2.JoinRequest(report=report)
                due_at = self._clock() + self._report_interval_s
            if self._must_ack:
                self._must_ack = False
                yield governor_service_pb2.JoinRequest(ack=self._ack())
            try:
                await asyncio.wait_for(self._wake.wait(), max(0.0, due_at - self._clock()))
            except TimeoutError:
                self._must_report = True
            if over.is_set():
                return
            self._wake.clear()

    def _accept(self, response: governor_service_pb2.JoinResponse) -> None:
        own, theirs = mesh_named(self._registration.mesh), mesh_named(response.mesh)
        if response.HasField("directive") and own != theirs:
            raise _WrongMesh(f"this member belongs to mesh '{own}', and the governor directs mesh '{theirs}'")
        if response.HasField("report_interval"):
            wanted_s = max(seconds_of(response.report_interval), MIN_REPORT_INTERVAL_S)
            self._follow(min(wanted_s, MAX_REPORT_INTERVAL_S))
        if response.HasField("directive"):
            self._obey(directive_from_proto(response.directive))
        elif response.HasField("fleet") and self._on_roster is not None:
            fleet = self._fleets.add(response.fleet)
            if fleet is not None:
                self._on_roster(roster_from_proto(fleet))

    def _obey(self, directive: Directive) -> None:
        now, current = self._clock(), self._directives.current
        verdict = self._directives.judge(directive, now)
        self._directives.apply(directive, now)
        if verdict in {Verdict.STALE, Verdict.IMPLAUSIBLE}:
            obeyed = current.version if current else None
            extra = {"governor": self._governor, "version": directive.version, "obeyed": obeyed}
            self._log.warning("a directive was refused", why=verdict.value, **extra)
            if not self.joined:
                # Another governor directs this member: dial again, to find that one before its lease ends.
                raise _Refused(f"its directive was refused: {verdict.value}")
            return
        is_plausible = self._directives.is_plausible(directive)
        if not self.joined:
            self.joined, self._joined_at = True, now
            logger.info("governor joined", extra={"governor": self._governor})
        elif not is_plausible and now - self._joined_at > LOOK_AGAIN_S:
            raise _Refused("its epoch is implausible: another governor is looked for")
        if verdict is Verdict.APPLY:
            logger.info(
                "directive",
                extra={
                    "levels": str(directive.degradation),
                    "version": directive.version,
                    "reason": directive.reason,
                },
            )
            if not is_plausible:
                self._log.warning("the governor's epoch is implausible: check the clocks", epoch=directive.epoch)
        # One that comes again is acknowledged again: the governor repeats it to those whose word it has not. While the
        # member's own decision still is in force beside it, there is nothing to acknowledge yet.
        if not self._directives.decides_alone:
            self._must_ack = True
            self._wake.set()

    def _follow(self, report_interval_s: float) -> None:
        # Whoever falls silent for three intervals is dropped, so a shorter one must not wait for the end of a longer.
        if report_interval_s < self._report_interval_s:
            self.kick()
        self._report_interval_s = report_interval_s

    def _try_report(self) -> health_pb2.HealthReport | None:
        # gRPC would take an exception here for our wish to cancel, and end the membership with it.
        try:
            state = self._directives
            report = replace(
                self._report(),
                in_force=state.in_force,
                applied=state.current.version if state.current is not None else None,
                decides_alone=state.decides_alone,
            )
            return report_to_proto(report)
        except Exception:
            logger.exception("no report could be made")
            return None

    def _ack(self) -> degradation_pb2.DirectiveAck:
        current = self._directives.current
        epoch, revision = current.version if current else (0, 0)
        return degradation_pb2.DirectiveAck(epoch=epoch, revision=revision)
