"""Plans and lines that tests play with: no network, and as many seconds as they say."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from sluice.load.generator import Generator
from sluice.load.line import Attempt
from sluice.load.plan import Plan
from sluice.load.retry import Failure
from sluice.load.schedule import arrivals
from sluice.load.tally import Tally
from sluice.load.text import Text
from sluice.v1 import inference_service_pb2 as inference_pb2

TEXTS = tuple(Text(text=f"where is parcel {number}?", label="parcel") for number in range(5))


def plan(**changes: Any) -> Plan:
    """A plan of 200 requests a second for a tenth of one."""
    values = {"router": "nowhere:1", "rate": ((0.0, 200.0),), "duration_s": 0.1, "texts": TEXTS, "tick_s": 0.001}
    return Plan.model_validate(values | changes)


def answer(**changes: Any) -> inference_pb2.InferResponse:
    """An answer of the light tier, right about its label."""
    response = inference_pb2.InferResponse(tier="TIER_LIGHT", **changes)
    response.classification.label = "parcel"
    return response


REFUSED = Failure(code="RESOURCE_EXHAUSTED", reason="rejected-saturated", retry_after_s=0.01)
ANSWER = answer()
Reply = inference_pb2.InferResponse | Failure | None


class FakeLine:
    """Answers each attempt, when it is flushed, with what `reply` says of how many there were before; None: never."""

    def __init__(self, reply: Callable[[int], Reply]) -> None:
        self.up = True
        self.put_attempts: list[Attempt] = []
        self.cancelled: list[int] = []
        self.sink: Generator | None = None
        self._reply = reply
        self._waiting: list[int] = []

    def put(self, number: int, attempt: Attempt) -> None:
        self.put_attempts.append(attempt)
        self._waiting.append(number)

    def cancel(self, number: int) -> None:
        self.cancelled.append(number)

    def flush(self) -> None:
        assert self.sink is not None
        waiting, self._waiting = self._waiting, []
        first = len(self.put_attempts) - len(waiting)
        for place, number in enumerate(waiting, start=first):
            reply = self._reply(place)
            if isinstance(reply, Failure):
                self.sink.failed(number, reply)
            elif reply is not None:
                self.sink.answered(number, reply)

    async def run(self) -> None:
        await asyncio.Event().wait()


async def played(one: Plan, line: FakeLine) -> Tally:
    """What `one` comes to over `line`."""
    tally = Tally(one.window_s)
    loop = asyncio.get_running_loop()
    generator = Generator(one, arrivals(one), tally, begin_at=loop.time(), clock=loop.time)
    line.sink = generator
    await generator.run([line])
    return tally


def totals(tally: Tally) -> dict[str, int]:
    """The counts of all windows together."""
    found: dict[str, int] = {}
    for window in tally.windows.values():
        for name, count in window.counts.items():
            found[name] = found.get(name, 0) + count
    return found


def ended(tally: Tally) -> dict[str, int]:
    """How many requests ended how, of both pools."""
    kinds: dict[str, int] = {}
    for name, count in totals(tally).items():
        pool, _, kind = name.partition(".")
        if pool in {"hot", "cold"}:
            kinds[kind] = kinds.get(kind, 0) + count
    return kinds
