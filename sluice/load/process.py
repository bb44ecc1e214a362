"""One process of a run: `python -m sluice.load.process`, started by `sluice.load.run` and by nobody else.

Standard input brings the plan and then the instant to begin at, one JSON line each; standard output takes, one JSON
line each, that the lines are connected, what was counted since the line before, and that it is done.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import os
import sys
import time
from collections.abc import Mapping
from typing import Any

import grpc

from sluice.load.generator import Generator
from sluice.load.line import line_channel
from sluice.load.plan import Plan
from sluice.load.schedule import arrivals
from sluice.load.stream_line import StreamLine
from sluice.load.tally import Tally
from sluice.load.unary_line import UnaryLine
from sluice.runtime.program import end_with_parent

CONNECT_TIMEOUT_S = 10.0
REPORT_S = 1.0


class Meter:
    """What this process has used since the meter was made, in seconds."""

    def __init__(self) -> None:
        self._begin = self._now()

    def read(self) -> dict[str, float]:
        """Time that passed, CPU time of all threads, and that of the event loop's."""
        now = self._now()
        return {name: now[name] - self._begin[name] for name in now}

    def _now(self) -> dict[str, float]:
        return {"passed_s": time.monotonic(), "cpu_s": time.process_time(), "loop_cpu_s": time.thread_time()}


async def send(order: Mapping[str, Any]) -> None:
    """Play one part of a run."""
    plan = Plan.model_validate_json(order["plan"])
    tally = Tally(plan.window_s)
    async with contextlib.AsyncExitStack() as stack:
        channels = [await stack.enter_async_context(line_channel(plan.router)) for _ in range(plan.connections)]
        if not await _are_connected(channels):
            _say({"failed": f"no router answers at {plan.router}"})
            return
        _say({"ready": os.getpid()})
        begin_at = json.loads(await asyncio.to_thread(sys.stdin.readline))["begin_at"]
        generator = Generator(plan, arrivals(plan, part=order["part"], parts=plan.processes), tally, begin_at=begin_at)
        kind = StreamLine if plan.face == "stream" else UnaryLine
        lines = [kind(channel, generator) for channel in channels]
        gc.collect()
        gc.freeze()
        async with asyncio.TaskGroup() as group:
            around = [group.create_task(line.run()) for line in lines]
            # The lines come up in the loop's next turn.
            await asyncio.sleep(max(0.0, begin_at - time.monotonic()))
            meter = Meter()
            around.append(group.create_task(_report(tally, meter)))
            await generator.run(lines)
            for task in around:
                task.cancel()
    _say({"counted": tally.drain(), **meter.read(), "done": True})


async def _are_connected(channels: list[grpc.aio.Channel]) -> bool:
    try:
        async with asyncio.timeout(CONNECT_TIMEOUT_S):
            await asyncio.gather(*(channel.channel_ready() for channel in channels))
    except TimeoutError:
        return False
    return True


async def _report(tally: Tally, meter: Meter) -> None:
    while True:
        await asyncio.sleep(REPORT_S)
        _say({"counted": tally.drain(), **meter.read()})


def _say(values: Mapping[str, Any]) -> None:
    print(json.dumps(values), flush=True)


def main() -> None:
    """Read the order, and carry it out."""
    end_with_parent(os.environ)  # noqa: TID251  a composition root
    order = json.loads(sys.stdin.readline())
    work = send(order)
    try:
        import uvloop
    except ImportError:
        asyncio.run(work)
        return
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(work)


if __name__ == "__main__":
    main()
