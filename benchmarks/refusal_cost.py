"""What one refusal by admission costs the router: microseconds of CPU time of its process, as the kernel counts it.

The worker of a mesh of real processes is stopped, and the router's only place taken, so that every further request is
refused. A bare server that answers every call on the same machine in the same run gives the floor.
"""

from __future__ import annotations

import asyncio
import os
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import grpc
import psutil

from benchmarks.closed_loop import request
from benchmarks.identity_mesh import IDENTITY
from sluice.cli.addresses import free_port
from sluice.cli.mesh import LocalMesh
from sluice.v1 import inference_service_pb2 as inference_pb2
from sluice.v1 import inference_service_pb2_grpc as inference_grpc

IN_FLIGHT = 64
BUNDLE = 64
HOT = inference_pb2.InferRequest(text="holds the place", priority=1.0)


async def compared_cost(seconds: float, *, against: Path, rounds: int = 3) -> dict[str, float]:
    """`refusal_cost` of this tree and of the one at `against`, in alternating rounds: medians, and their ratio."""
    seen: dict[str, list[float]] = {}
    for number in range(rounds):
        # Who goes first in a round goes second in the next.
        sides = (("", None), ("against ", against))
        for prefix, tree in sides if number % 2 == 0 else reversed(sides):
            for name, value in (await refusal_cost(seconds, tree=tree)).items():
                seen.setdefault(prefix + name, []).append(value)
    figures = {name: statistics.median(values) for name, values in seen.items()}
    for name in ("refused call", "refused text on a stream"):
        key = f"{name}, cpu us"
        figures[f"{name}, ratio"] = round(figures[key] / figures[f"against {key}"], 3)
    return figures


async def refusal_cost(seconds: float, *, tree: Path | None = None) -> dict[str, float]:
    """Microseconds of CPU time for each refusal on its own call and on a stream, and for a bare call; rates beside.

    The mesh is the one of the checkout at `tree`, if one is named.
    """
    figures: dict[str, float] = {}
    async with full_router(tree) as (address, process), grpc.aio.insecure_channel(address) as channel:
        figures |= _named("refused call", await _cost(process, _calls(channel, seconds, expected="RESOURCE_EXHAUSTED")))
        figures |= _named("refused text on a stream", await _cost(process, _texts(channel, seconds)))
    async with bare_server() as (address, process), grpc.aio.insecure_channel(address) as channel:
        figures |= _named("bare answered call", await _cost(process, _calls(channel, seconds, expected="OK")))
    return figures


@asynccontextmanager
async def full_router(tree: Path | None = None) -> AsyncIterator[tuple[str, psutil.Process]]:
    """A router that refuses everybody, while the block runs."""
    environ = dict(os.environ)  # noqa: TID251
    if tree is not None:
        environ |= {"PYTHONPATH": str(tree), "PYTHONSAFEPATH": "1"}
    # Only a router that does not ask why its worker is silent keeps the place taken.
    settings = {
        "router": {"max_open_requests": 1, "assignment": "preference"},
        "cpu_worker": {"models": [IDENTITY]},
    }
    with tempfile.TemporaryDirectory() as logs:
        mesh = LocalMesh(
            settings,
            environ=environ,
            services=("governor", "cpu_worker", "router"),
            free_ports=True,
            log_directory=Path(logs),
            on_event=lambda *_: None,
        )
        async with mesh, grpc.aio.insecure_channel(mesh.router) as channel:
            mesh.processes["cpu_worker"].signal(signal.SIGSTOP)
            call = inference_grpc.InferenceServiceStub(channel).Infer(HOT, timeout=600)
            await asyncio.sleep(0.5)
            yield mesh.router, psutil.Process(mesh.processes["router"].pid)
            if call.done():
                raise RuntimeError("the place became free while refusals were measured")
            call.cancel()


@asynccontextmanager
async def bare_server() -> AsyncIterator[tuple[str, psutil.Process]]:
    """A server of raw bytes that answers every call at once, while the block runs."""
    address = f"127.0.0.1:{free_port()}"
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", "benchmarks.echo_server", address, "tuned")
    try:
        async with grpc.aio.insecure_channel(address) as channel:
            await asyncio.wait_for(channel.channel_ready(), 30)
        yield address, psutil.Process(process.pid)
    finally:
        process.kill()
        await process.wait()


async def _cost(process: psutil.Process, load: AsyncIterator[int]) -> tuple[float, float]:
    """CPU microseconds of `process` for each of what `load` counts, and how many a second there were."""
    await anext(load)
    before, started = process.cpu_times(), time.perf_counter()
    count = sum([number async for number in load])
    elapsed_s, after = time.perf_counter() - started, process.cpu_times()
    used_s = after.user + after.system - before.user - before.system
    return used_s / count * 1e6, count / elapsed_s


async def _calls(channel: grpc.aio.Channel, seconds: float, *, expected: str) -> AsyncIterator[int]:
    infer = inference_grpc.InferenceServiceStub(channel).Infer
    message = request()
    stop_at = time.perf_counter() + 1.0

    async def caller() -> int:
        done = 0
        while time.perf_counter() < stop_at:
            call = infer(message, timeout=10)
            with suppress(grpc.aio.AioRpcError):
                await call
            if (code := await call.code()).name != expected:
                raise RuntimeError(f"a call ended with {code.name} instead of {expected}")
            done += 1
        return done

    # A first second warms up and is not counted.
    yield sum(await asyncio.gather(*(caller() for _ in range(IN_FLIGHT))))
    stop_at = time.perf_counter() + seconds
    yield sum(await asyncio.gather(*(caller() for _ in range(IN_FLIGHT))))


async def _texts(channel: grpc.aio.Channel, seconds: float) -> AsyncIterator[int]:
    call = inference_grpc.InferenceServiceStub(channel).InferStream()
    message = inference_pb2.InferStreamRequest()
    for number in range(BUNDLE):
        message.items.add(id=number, request=request())

    async def refused_bundles(stop_at: float) -> int:
        done = 0
        while time.perf_counter() < stop_at:
            await call.write(message)
            left = BUNDLE
            while left:
                response = await call.read()
                if any(outcome.status.reason != "rejected-saturated" for outcome in response.outcomes):
                    raise RuntimeError(f"a text was not refused: {response}")
                left -= len(response.outcomes)
            done += BUNDLE
        return done

    yield await refused_bundles(time.perf_counter() + 1.0)
    yield await refused_bundles(time.perf_counter() + seconds)
    call.cancel()


def _named(name: str, figures: tuple[float, float]) -> dict[str, float]:
    cpu_us, per_s = figures
    return {f"{name}, cpu us": round(cpu_us, 1), f"{name}, per s": round(per_s)}
