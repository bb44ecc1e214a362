"""python -m benchmarks.attacks.large_requests ADDRESS NAME: calls with very large fields, all at once, to a router.

Prints how many calls ended with which status, as JSON, then waits until its standard input is closed. Until then its
connections stay open, unless `--hang-up` closes them first.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import grpc

from sluice.v1 import inference_service_pb2 as inference_pb2
from sluice.v1 import inference_service_pb2_grpc as inference_grpc

MB = 1_000_000
CONNECTIONS = 4
TIMEOUT_S = 30.0
# Channels with the same options would share one connection.
OPTIONS = (("grpc.use_local_subchannel_pool", 1), ("grpc.max_send_message_length", -1))


@dataclass(frozen=True, slots=True, kw_only=True)
class Burst:
    """`calls` in all, `at_once` of them open at a time; `fields` makes those of the call with a given number."""

    calls: int
    at_once: int
    fields: Callable[[int], dict[str, str]]

    def part(self, share: float) -> Burst:
        """As many at once, and `share` of the calls."""
        return Burst(calls=math.ceil(self.calls * share), at_once=self.at_once, fields=self.fields)


BURSTS: Mapping[str, Burst] = {
    "conversation ids of 3.9 MB": Burst(
        calls=64, at_once=16, fields=lambda number: {"conversation_id": f"{number:08}".ljust(int(3.9 * MB), "c")}
    ),
    "model names of 3.6 MB": Burst(
        calls=200, at_once=50, fields=lambda number: {"model": f"{number:08}".ljust(int(3.6 * MB), "m")}
    ),
    "texts of 3 MB": Burst(calls=400, at_once=400, fields=lambda _: {"text": "x" * 3 * MB}),
    "texts of 65 kB": Burst(calls=20_000, at_once=1_000, fields=lambda _: {"text": "x" * 65_000}),
}
ORDINARY = Burst(calls=10_000, at_once=200, fields=lambda number: {"text": "ordinary", "conversation_id": f"{number}"})


@asynccontextmanager
async def connections(address: str) -> AsyncIterator[list[grpc.aio.Channel]]:
    """Channels to `address` with a connection each."""
    async with AsyncExitStack() as stack:
        channels = [grpc.aio.insecure_channel(address, options=OPTIONS) for _ in range(CONNECTIONS)]
        yield [await stack.enter_async_context(channel) for channel in channels]


async def send(burst: Burst, channels: list[grpc.aio.Channel]) -> dict[str, int]:
    """Make the calls; how many ended with which status."""
    stubs = [inference_grpc.InferenceServiceStub(channel) for channel in channels]
    numbers = iter(range(burst.calls))
    ends: Counter[str] = Counter()

    async def caller() -> None:
        for number in numbers:
            request = inference_pb2.InferRequest(**{"text": "t", "query_class": 1, **burst.fields(number)})
            try:
                await stubs[number % len(stubs)].Infer(request, timeout=TIMEOUT_S)
            except grpc.aio.AioRpcError as error:
                ends[error.code().name] += 1
            else:
                ends["OK"] += 1

    await asyncio.gather(*(caller() for _ in range(burst.at_once)))
    return dict(ends)


async def attack(address: str, burst: Burst, *, hangs_up: bool) -> None:
    """Send, say so, and wait."""
    async with connections(address) as channels:
        ends = await send(burst, channels)
        if not hangs_up:
            await _released(ends)
    if hangs_up:
        await _released(ends)


async def _released(ends: Mapping[str, int]) -> None:
    print(json.dumps(ends), flush=True)
    await asyncio.to_thread(sys.stdin.read)


def main() -> None:
    """Attack."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("address", help="the router's")
    parser.add_argument("name", choices=[*BURSTS, "ordinary"], help="what to send")
    parser.add_argument("--share", type=float, default=1.0, help="of the calls (default: %(default)s)")
    parser.add_argument("--hang-up", action="store_true", help="close the connections when all calls have ended")
    options = parser.parse_args()
    burst = {**BURSTS, "ordinary": ORDINARY}[options.name].part(options.share)
    asyncio.run(attack(options.address, burst, hangs_up=options.hang_up))


if __name__ == "__main__":
    main()
