"""Sends what is due, when it is due, and follows each request to its one end.

Open loop: the schedule is made beforehand and never waits for an answer. A request's latency runs from the instant for
which it was scheduled, so that a mesh, or a generator, which is late cannot hide it.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import random
import time
from collections.abc import Callable, Iterator, Sequence

from sluice.domain.enums import QueryClass, Tier
from sluice.load.kind import Kind, pool_of
from sluice.load.line import Attempt, Line
from sluice.load.mix import Ask, Mix
from sluice.load.plan import Plan
from sluice.load.policy import Chooser
from sluice.load.retry import REFUSED, Failure
from sluice.load.schedule import Arrival
from sluice.load.tally import Tally
from sluice.v1 import inference_service_pb2 as inference_pb2

# A request from the instant for which it was scheduled to its end, over all its attempts.


class Request:
    """One request of the schedule's arrival `number`. Instants are seconds from the run's start."""

    __slots__ = ("ask", "attempts", "conversation", "number", "scheduled_s", "sent_s")

    def __init__(self, number: int, ask: Ask, *, scheduled_s: float, conversation: Conversation | None = None) -> None:
        self.number = number
        self.ask = ask
        self.scheduled_s = scheduled_s
        self.conversation = conversation
        self.attempts = 0
        self.sent_s = scheduled_s


# A conversation: turns that follow each other, each some time after the answer to the one before.


class Conversation:
    """Conversation `number` of a run, of `turns` turns. It is lost when any of them is not answered in time."""

    __slots__ = ("_mix", "_number", "_turn", "_turns", "id")

    def __init__(self, mix: Mix, *, number: int, turns: int, seed: int) -> None:
        self.id = f"{seed}-{number}"
        self._mix = mix
        self._number = number
        self._turn = 0
        self._turns = turns

    def next_turn(self, scheduled_s: float) -> Request | None:
        """The next turn, for that instant; None when all have been had."""
        if self._turn == self._turns:
            return None
        ask = self._mix.ask(self._number, self._turn)
        self._turn += 1
        return Request(self._number, ask, scheduled_s=scheduled_s, conversation=self)


# Asks as messages. One is made for each thing that is asked, and then copied.


class Outbound:
    """Makes the messages of a plan's asks, by the plan's policy and minimum tier."""

    def __init__(self, plan: Plan) -> None:
        self.chooser = Chooser(plan.policy)
        self._model = plan.model
        self._minimum_tier = plan.minimum_tier
        # By the ask's identity, which is faster than its value; so the ask is kept beside its message.
        self._made: dict[tuple[int, QueryClass, Tier], tuple[Ask, inference_pb2.InferRequest]] = {}

    def message(self, ask: Ask) -> inference_pb2.InferRequest:
        """What asks `ask` now. Never to be changed."""
        query_class, tier = self.chooser.choose(ask)
        key = (id(ask), query_class, tier)
        made = self._made.get(key)
        if made is None:
            made = self._made[key] = (ask, self._make(ask, query_class, max(tier, self._minimum_tier)))
        return made[1]

    def _make(self, ask: Ask, query_class: QueryClass, tier: Tier) -> inference_pb2.InferRequest:
        return inference_pb2.InferRequest(
            model=self._model,
            text=ask.text.text,
            priority=ask.priority,
            query_class=query_class.value,  # type: ignore[arg-type]
            minimum_tier=tier.value,  # type: ignore[arg-type]
        )


# Limits of attempts that have ended already are no reason to go on.
LONGEST_SLEEP_S = 0.05
# How much longer than an attempt's limit the mesh is given to say so itself.
GRACE_S = 0.25
SILENCE = Failure(code="DEADLINE_EXCEEDED", reason="silent")
DOWN = Failure(code="UNAVAILABLE", reason="broken")
_KINDS = {REFUSED: Kind.REFUSED, "DEADLINE_EXCEEDED": Kind.EXPIRED}


class Generator:
    """One process's part of a run. `begin_at` is the run's first instant on the monotonic clock."""

    def __init__(
        self,
        plan: Plan,
        schedule: Iterator[Arrival],
        tally: Tally,
        *,
        begin_at: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._plan = plan
        self._schedule = schedule
        self._tally = tally
        self._begin_at = begin_at
        self._clock = clock
        self._mix = plan.mix()
        self._dice = random.Random(plan.seed)  # noqa: S311  jitter and pauses
        self._outbound = Outbound(plan)
        self._numbers = itertools.count(1)
        self._lines: Sequence[Line] = ()
        self._unfinished = 0
        self._open: dict[int, tuple[Request, Line]] = {}
        # By instant, with a number to tell equal ones apart: retries and turns to come, and limits of open attempts.
        self._later: list[tuple[float, int, Request]] = []
        self._limits: list[tuple[float, int]] = []

    async def run(self, lines: Sequence[Line]) -> None:
        """Send everything over `lines`, which run beside this; return when the last request has ended."""
        self._lines = lines
        arrival = next(self._schedule, None)
        while arrival is not None or self._unfinished or self._later:
            now_s = self._now_s()
            while arrival is not None and arrival.at_s <= now_s:
                self._begin(arrival)
                arrival = next(self._schedule, None)
            while self._later and self._later[0][0] <= now_s:
                self._go_on(heapq.heappop(self._later)[2])
            while self._limits and self._limits[0][0] <= now_s:
                self._give_up(heapq.heappop(self._limits)[1])
            for line in lines:
                line.flush()
            await asyncio.sleep(min(LONGEST_SLEEP_S, max(self._plan.tick_s, self._next_s(arrival) - self._now_s())))

    # From the schedule to the wire.

    def _begin(self, arrival: Arrival) -> None:
        if self._plan.turns is None:
            self._offer(Request(arrival.number, arrival.ask, scheduled_s=arrival.at_s))
            return
        self._tally.count(f"{pool_of(arrival.ask.hot)}.conversations.begun")
        conversation = Conversation(self._mix, number=arrival.number, turns=arrival.turns, seed=self._plan.seed)
        first = conversation.next_turn(arrival.at_s)
        if first is not None:
            self._offer(first)

    def _go_on(self, request: Request) -> None:
        if request.attempts:
            self._attempt(request)
        else:
            self._offer(request)

    def _offer(self, request: Request) -> None:
        self._tally.offered(hot=request.ask.hot, at_s=request.scheduled_s)
        self._unfinished += 1
        if self._unfinished > self._plan.max_open:
            self._finish(request, Kind.UNSENT, "unsent")
        else:
            self._attempt(request)

    def _attempt(self, request: Request) -> None:
        now_s = self._now_s()
        left_s = request.scheduled_s + self._plan.deadline_s - now_s
        if left_s <= 0:
            self._finish(request, Kind.UNSENT, "unsent")
            return
        left_s = min(left_s, self._plan.attempt_s or left_s)
        number = next(self._numbers)
        line = self._lines[request.number % len(self._lines)]
        self._open[number] = (request, line)
        self._tally.sent(at_s=now_s, lag_ms=None if request.attempts else (now_s - request.scheduled_s) * 1000)
        request.attempts += 1
        request.sent_s = now_s
        if not line.up:
            self.failed(number, DOWN)
            return
        heapq.heappush(self._limits, (now_s + left_s + GRACE_S, number))
        conversation_id = request.conversation.id if request.conversation else ""
        expires_at = self._begin_at + now_s + left_s
        line.put(number, Attempt(self._outbound.message(request.ask), expires_at, conversation_id))

    # From the wire to the request's end.

    def answered(self, number: int, answer: inference_pb2.InferResponse) -> None:
        """Attempt `number` was answered. What was given up before is passed over."""
        held = self._open.pop(number, None)
        if held is None:
            return
        request, now_s = held[0], self._now_s()
        self._tally.answered(answer, label=request.ask.text.label, at_s=now_s)
        in_time = now_s <= request.scheduled_s + self._plan.deadline_s
        self._finish(request, Kind.OK if in_time else Kind.LATE, "OK")

    def failed(self, number: int, failure: Failure) -> None:
        """Attempt `number` failed: there is another one, or the request has ended."""
        held = self._open.pop(number, None)
        if held is None:
            return
        request, now_s = held[0], self._now_s()
        if failure.code == REFUSED:
            self._tally.refused((now_s - request.sent_s) * 1000)
        wait_s = self._plan.retry.wait_s(failure, attempts=request.attempts, dice=self._dice.random())
        if wait_s is not None and now_s + wait_s < request.scheduled_s + self._plan.deadline_s:
            self._put_off(request, now_s + wait_s)
            return
        kind = Kind.SILENT if failure is SILENCE else _KINDS.get(failure.code, Kind.FAILED)
        self._finish(request, kind, f"{failure.code} {failure.reason}".rstrip())

    def broke(self, line: Line, failure: Failure) -> None:
        """Everything open on `line` has failed."""
        for number in [number for number, (_, one) in self._open.items() if one is line]:
            self.failed(number, failure)

    def _give_up(self, number: int) -> None:
        held = self._open.get(number)
        if held is not None:
            held[1].cancel(number)
            self.failed(number, SILENCE)

    def _finish(self, request: Request, kind: Kind, status: str) -> None:
        self._unfinished -= 1
        now_s = self._now_s()
        hot = request.ask.hot
        self._tally.ended(kind, hot=hot, at_s=now_s, scheduled_s=request.scheduled_s, status=status)
        self._outbound.chooser.saw((now_s - request.scheduled_s) * 1000)
        if request.conversation is None:
            return
        think_s = self._dice.expovariate(1 / self._plan.think_s) if self._plan.think_s else 0.0
        following = request.conversation.next_turn(now_s + think_s)
        outcome = "finished"
        if kind is not Kind.OK:
            outcome = "lost"
        elif following is not None and following.scheduled_s < self._plan.duration_s:
            self._put_off(following, following.scheduled_s)
            return
        elif following is not None:
            outcome = "unfinished"
        self._tally.count(f"{pool_of(hot)}.conversations.{outcome}")

    # Times.

    def _now_s(self) -> float:
        return self._clock() - self._begin_at

    def _put_off(self, request: Request, until_s: float) -> None:
        heapq.heappush(self._later, (until_s, next(self._numbers), request))

    def _next_s(self, arrival: Arrival | None) -> float:
        upcoming = [arrival.at_s] if arrival is not None else []
        upcoming += [heap[0][0] for heap in (self._later, self._limits) if heap]
        return min(upcoming, default=0.0)
