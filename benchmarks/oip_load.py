"""Closed-loop load by a stock tritonclient, run by that client's own interpreter: oip_load.py ADDRESS IN_FLIGHT SECONDS

Prints answers per second. It imports nothing of Sluice: the two cannot share a process.
"""

from __future__ import annotations

import asyncio
import sys
import time

import numpy as np
import tritonclient.grpc.aio as triton


async def load(address: str, in_flight: int, seconds: float) -> float:
    """Answers per second."""
    async with triton.InferenceServerClient(address) as client:
        tensor = triton.InferInput("text", [1], "BYTES")
        tensor.set_data_from_numpy(np.array([b"where is my parcel? it should have been here on monday"], dtype=object))
        stop_at = time.perf_counter() + seconds
        answered = 0

        async def caller() -> None:
            nonlocal answered
            while time.perf_counter() < stop_at:
                await client.infer("echo", [tensor], client_timeout=30)
                answered += 1

        started = time.perf_counter()
        await asyncio.gather(*(caller() for _ in range(in_flight)))
        return answered / (time.perf_counter() - started)


if __name__ == "__main__":
    print(asyncio.run(load(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]))))
