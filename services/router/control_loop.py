"""The router's beat: what it looks at whether or not a request comes: workers that hang, prices, and its limit."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from services.router.admission.controller import AdmissionController
from services.router.dispatch.dispatcher import Dispatcher
from services.router.lifecycle.recovery import HungWorkerRecovery
from services.router.scheduling.prices import backlog_s, waiting_by_variant
from services.router.scheduling.scheduler import Scheduler
from sluice.control.directive import ActiveDirective

BEAT_S = 0.05
BEATS_PER_TICK = 2
# After a pause of its own the router finds every batch late, and no worker guilty.
OWN_PAUSE_S = 0.1


class RouterControlLoop:
    """Runs until cancelled. Times are of `clock`, in seconds.

    Without a `rescue` workers may hang, and what waits counts whole, because nobody moves it: the fixed policy.
    """

    def __init__(
        self,
        *,
        rescue: HungWorkerRecovery | None,
        placement: Scheduler,
        dispatcher: Dispatcher,
        admission: AdmissionController,
        directives: ActiveDirective,
        clock: Callable[[], float],
    ) -> None:
        self._rescue = rescue
        self._placement = placement
        self._dispatcher = dispatcher
        self._admission = admission
        self._directives = directives
        self._clock = clock
        self._beat_at = clock()
        self._ticked_at = clock()
        self._beats = 0

    async def run(self) -> None:
        """Beat for ever."""
        while True:
            await asyncio.sleep(BEAT_S)
            self.beat(self._clock())

    def beat(self, now: float) -> None:
        """One beat, at `now`."""
        is_late = now - self._beat_at > BEAT_S + OWN_PAUSE_S
        self._beat_at = now
        if self._rescue is not None and not is_late:
            self._rescue.look(now)
        self._beats += 1
        if self._beats % BEATS_PER_TICK == 0:
            self._tick(now)

    def _tick(self, now: float) -> None:
        elapsed_s, self._ticked_at = now - self._ticked_at, now
        outlook, queues = self._placement.look(now), self._dispatcher.queues
        self._placement.prices.tick(elapsed_s, workers=outlook.workers, backlog_s=backlog_s(outlook, queues))
        self._admission.tick(
            now,
            admit_scale=self._directives.admit_scale,
            waiting=waiting_by_variant(outlook, queues, is_moved=self._rescue is not None),
        )
