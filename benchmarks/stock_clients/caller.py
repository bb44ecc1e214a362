"""A stock client of Python: sends one message at a fixed rate and prints how the calls ended, as JSON."""

from __future__ import annotations

import asyncio
import base64
import json
import sys
import time
from collections import Counter
from typing import Any

import grpc


async def main(plan: dict[str, Any]) -> None:
    """Call as `plan` says."""
    options = (("grpc.service_config", plan["config"]),) if plan["config"] else ()
    body = base64.b64decode(plan["body"])
    codes: Counter[str] = Counter()
    said: Counter[str] = Counter()
    slowest = 0.0
    async with grpc.aio.insecure_channel("ipv4:" + plan["targets"], options=options) as channel:
        await asyncio.wait_for(channel.channel_ready(), 10)
        method = channel.unary_unary(plan["method"])

        async def ask() -> None:
            nonlocal slowest
            begun = time.perf_counter()
            try:
                await method(body, timeout=plan["timeout"])
                codes["OK"] += 1
            except grpc.aio.AioRpcError as error:
                codes[error.code().name] += 1
                said[str(error.details())] += 1
            slowest = max(slowest, time.perf_counter() - begun)

        first = time.perf_counter()
        tasks = []
        for number in range(max(1, round(plan["rate"] * plan["seconds"]))):
            await asyncio.sleep(max(0.0, first + number / plan["rate"] - time.perf_counter()))
            tasks.append(asyncio.create_task(ask()))
        await asyncio.gather(*tasks)
    print(json.dumps({"codes": codes, "said": said, "slowest_ms": slowest * 1000}))


if __name__ == "__main__":
    asyncio.run(main(json.loads(sys.argv[1])))
