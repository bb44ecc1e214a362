"""A member's end of `GovernorService.Join`: report upwards, obey and acknowledge what comes down, dial again for ever.

Nothing waits for the governor. While it is silent or gone the member goes on as it was, and no queue grows: a report
is made when it is sent.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import replace

import grpc

from sluice.channel import peer_channel
from sluice.directive import Directive, DirectiveState
from sluice.directive_wire import directive_from_proto
from sluice.fleet import Fleet, Registration, Report
from sluice.fleet_wire import fleet_from_proto, registration_to_proto, report_to_proto
from sluice.status import seconds_of
from sluice.v1 import degradation_pb2, governor_service_pb2, health_pb2
from sluice.v1 import governor_service_pb2_grpc as governor_grpc

FIRST_BACKOFF_S = 0.1
# The channel dials by its own, longer law, up to a second apart: asking it costs nothing, and both together must let a
# governor that has come back have its fleet within two.
MAX_BACKOFF_S = 0.5
DEFAULT_REPORT_INTERVAL_S = 0.5

logger = logging.getLogger(__name__)


class Membership:
    """One member's place in the fleet. `on_fleet` is called on the loop with every fleet that a router is sent."""

    def __init__(
        self,
        governor: str,
        registration: Registration,
        *,
        report: Callable[[], Report],
        directives: DirectiveState,
        on_fleet: Callable[[Fleet], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.joined = False
        self._governor = governor
        self._registration = registration
        self._report = report
        self._directives = directives
        self._on_fleet = on_fleet
        self._report_interval_s = DEFAULT_REPORT_INTERVAL_S
        self._clock = clock
        self._wake = asyncio.Event()
        self._must_ack = False
        self._must_report = False
        self._has_refused = False

    def kick(self) -> None:
        """Report now rather than at the next interval: something has changed that others decide by."""
        self._must_report = True
        self._wake.set()

    async def run(self) -> None:
        """Be a member until cancelled. The governor's troubles are logged once each and never raised."""
        backoff_s = FIRST_BACKOFF_S
        async with peer_channel(self._governor) as channel:
            stub = governor_grpc.GovernorServiceStub(channel)
            while True:
                why = await self._one_stream(stub)
                if self.joined:
                    logger.warning("governor lost", extra={"governor": self._governor, "why": why})
                    backoff_s = FIRST_BACKOFF_S
                self.joined = False
                await asyncio.sleep(backoff_s * random.uniform(0.5, 1.0))  # noqa: S311  jitter
                backoff_s = min(MAX_BACKOFF_S, backoff_s * 2)

    async def _one_stream(self, stub: governor_grpc.GovernorServiceStub) -> str:
        over = asyncio.Event()
        self._has_refused = False
        call = stub.Join(self._requests(over))
        try:
            async for response in call:
                self._accept(response)
        except grpc.aio.AioRpcError as error:
            return f"{error.code().name}: {error.details()}"
        except ValueError as error:
            return f"the governor says what this member does not know: {error}"
        finally:
            call.cancel()
            # grpc.aio leaves a call's request iterator waiting when the call ends by itself.
            over.set()
            self._wake.set()
        return "the governor ended the stream"

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
        if not self.joined:
            self.joined = True
            logger.info("governor joined", extra={"governor": self._governor})
        if response.HasField("report_interval"):
            self._follow(seconds_of(response.report_interval))
        if response.HasField("directive"):
            self._obey(directive_from_proto(response.directive))
        elif response.HasField("fleet") and self._on_fleet is not None:
            self._on_fleet(fleet_from_proto(response.fleet))

    def _obey(self, directive: Directive) -> None:
        is_new = self._directives.apply(directive, self._clock())
        current = self._directives.current
        if is_new:
            extra = {"levels": str(directive.degradation), "version": directive.version, "reason": directive.reason}
            logger.info("directive", extra=extra)
        elif current is not None and directive.version < current.version:
            if not self._has_refused:
                extra = {"version": directive.version, "obeyed": current.version}
                logger.warning("stale directive refused", extra=extra)
            self._has_refused = True
            return
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
