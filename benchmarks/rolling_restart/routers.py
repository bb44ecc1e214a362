"""Two routers in front of one worker, as processes, and their restart one after the other under a client's calls."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from benchmarks.cpu_mesh import cpu_mesh
from benchmarks.identity_mesh import IDENTITY
from benchmarks.rolling_restart.envoy import envoy
from benchmarks.rolling_restart.relay import relays
from benchmarks.stock_clients import Ends, Plan, call
from sluice.cli.addresses import free_port
from sluice.cli.process import ServiceProcess
from sluice.client.options import service_config
from sluice.runtime.config import variable_of
from sluice.v1 import inference_service_pb2 as inference_pb2

INFER = "/sluice.v1.InferenceService/Infer"
READY_S = 60.0
STOP_S = 40.0
SPREAD_ONLY = json.dumps({"loadBalancingConfig": [{"round_robin": {}}]})


def health_without_retries() -> str:
    """The published service config but for its retries."""
    config = json.loads(service_config())
    del config["methodConfig"], config["retryThrottling"]
    return json.dumps(config)


def body() -> bytes:
    """One text."""
    return inference_pb2.InferRequest(text="text", query_class=1).SerializeToString()


@asynccontextmanager
async def two_routers(
    logs: Path, *, transport: Mapping[str, float] | None = None, tree: Path | None = None
) -> AsyncIterator[tuple[ServiceProcess, ServiceProcess]]:
    """Two routers that serve; `transport` is that section of theirs, and `tree` another checkout that they run from."""
    mesh = cpu_mesh([IDENTITY], logs=logs)
    async with mesh:
        environ = dict(os.environ)  # noqa: TID251
        environ[variable_of("router", "workers")] = json.dumps([mesh.addresses["cpu_worker"]])
        if tree is not None:
            environ |= {"PYTHONPATH": str(tree), "PYTHONSAFEPATH": "1"}
        elif transport:
            environ[variable_of("router", "transport")] = json.dumps(dict(transport))
        made = []
        for number in (1, 2):
            address = f"127.0.0.1:{free_port()}"
            own = {**environ, variable_of("router", "listen"): address}
            made.append(ServiceProcess("router", address=address, environ=own, log=logs / f"router{number}.log"))
        try:
            for one in made:
                one.start()
            for one in made:
                await one.ready(READY_S)
            yield made[0], made[1]
        finally:
            for one in made:
                one.signal(signal.SIGKILL)
                await one.ended(STOP_S)


async def restart(router: ServiceProcess) -> float:
    """Stop the router in order and start it anew; returns the seconds that the stop took."""
    loop = asyncio.get_running_loop()
    begun_at = loop.time()
    router.signal(signal.SIGTERM)
    if not await router.ended(STOP_S):
        raise RuntimeError("a router did not end")
    took_s = loop.time() - begun_at
    router.start()
    await router.ready(READY_S)
    return took_s


async def lost_in_restarts(
    routers: tuple[ServiceProcess, ServiceProcess],
    language: str,
    config: str,
    *,
    seconds: float,
    rate: float = 100.0,
    round_trip_s: float = 0.0,
    through_envoy: bool = False,
    envoy_retries: bool = True,
) -> tuple[Ends, list[float]]:
    """How a client's calls end while both routers are restarted, and how long each stop took. Raises Missing."""
    targets = tuple(one.address for one in routers)
    async with AsyncExitStack() as stack:
        if round_trip_s:
            targets = await stack.enter_async_context(relays(targets, round_trip_s=round_trip_s))
        if through_envoy:
            targets = (await stack.enter_async_context(envoy(targets, retries=envoy_retries)),)
            await asyncio.sleep(0.5)
        plan = Plan(targets, INFER, body(), rate=rate, seconds=seconds, config=config)
        calling = asyncio.create_task(call(language, plan))
        try:
            await asyncio.sleep(1.0)
            took_s = []
            for one in routers:
                took_s.append(await restart(one))
                # Who has left it finds it again before the other one goes.
                await asyncio.sleep(1.5)
            return await calling, took_s
        finally:
            calling.cancel()
            await asyncio.gather(calling, return_exceptions=True)
