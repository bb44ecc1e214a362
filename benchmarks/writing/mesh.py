"""What reaches callers: a worker, routers before it, and processes that keep streams open."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import yaml

from benchmarks.child import STOP_TIMEOUT_S
from benchmarks.figure import Figure, Target
from benchmarks.gpu.bench import Bench
from benchmarks.writing.model import SPEC
from benchmarks.writing.scale import Scale, scale_of
from benchmarks.writing.worker import PROFILE, SCALE
from sluice.cli.addresses import choose_ports
from sluice.cli.process import ServiceProcess

READY_TIMEOUT_S = 480.0


def measure(bench: Bench) -> list[Figure]:
    """All figures. Raises ServiceFailed with the end of a log when a service is not ready."""
    scale = scale_of(smoke=bench.smoke)
    with tempfile.TemporaryDirectory(prefix="sluice-writing-") as scratch:
        tallies, profile = asyncio.run(_play(bench, scale, Path(scratch)))
    return list(_figures(scale, tallies, profile))


async def _play(bench: Bench, scale: Scale, scratch: Path) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    folder = scratch / SPEC.model
    folder.mkdir()
    (folder / SCALE).write_text(json.dumps(scale.content()), encoding="utf-8")
    worker, *routers = (f"127.0.0.1:{port}" for port in choose_ports(1 + scale.routers))
    services = [("benchmarks.writing.worker", worker, _worker(bench, scale, worker, scratch))]
    services += [("services.router", address, _router(scale, address, worker)) for address in routers]
    processes: dict[str, ServiceProcess] = {}
    async with AsyncExitStack() as running:
        for module, address, settings in services:
            file = scratch / f"{address}.yaml"
            file.write_text(yaml.safe_dump(settings), encoding="utf-8")
            environ = os.environ | {"SLUICE_CONFIG": str(file)}  # noqa: TID251
            log = scratch / f"{address}.log"
            process = ServiceProcess(module, address=address, environ=environ, log=log, module=module)
            processes[address] = process
            process.start()
            running.push_async_callback(_stop, process)
            bench.tell(f"{module}: waiting until it serves")
            await process.ready(READY_TIMEOUT_S)
        bench.tell(f"{scale.streams} streams")
        begins_anew = asyncio.create_task(_take_away(folder / PROFILE, after_s=scale.warm_s))
        streams = scale.streams // scale.callers
        tallies = await asyncio.gather(
            *(
                _call(routers[place % len(routers)], streams, place * streams, folder / SCALE)
                for place in range(scale.callers)
            )
        )
        await begins_anew
        bench.tell(f"what the worker warned of last:\n{processes[worker].last_lines()}")
        profile: dict[str, Any] = json.loads((folder / PROFILE).read_text(encoding="utf-8"))
        return list(tallies), profile


async def _take_away(profile: Path, *, after_s: float) -> None:
    await asyncio.sleep(after_s)
    await asyncio.to_thread(profile.unlink, missing_ok=True)


async def _call(address: str, streams: int, first: int, scale: Path) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.writing.callers", address, str(streams), str(first), str(scale)]
    process = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE)
    said, _ = await process.communicate()
    tally: dict[str, Any] = json.loads(said)
    return tally


async def _stop(process: ServiceProcess) -> None:
    process.signal(signal.SIGTERM)
    if not await process.ended(STOP_TIMEOUT_S):
        process.signal(signal.SIGKILL)


def _worker(bench: Bench, scale: Scale, address: str, root: Path) -> dict[str, Any]:
    entry = {"model": SPEC.model, "tier": "full", "checkpoint": SPEC.model}
    settings = {
        "listen": address,
        "device": str(bench.device),
        "models_root": str(root),
        "models": [entry],
        "autonomous": False,
        "profile_seconds": 0,
        "generation_lookahead": min(4096, scale.texts),
        "generation_compile": bench.graphs,
    }
    return {"gpu_worker": settings, "telemetry": {"log_level": "WARNING"}}


def _router(scale: Scale, address: str, worker: str) -> dict[str, Any]:
    settings = {
        "listen": address,
        "workers": [worker],
        "autonomous": False,
        # Its callers send all that they have at once, which no limit on admission should take for an overload.
        "admission": "caps",
        "max_open_requests": max(100, 2 * scale.streams),
    }
    return {"router": settings, "telemetry": {"log_level": "WARNING"}}


def _figures(scale: Scale, tallies: list[dict[str, Any]], profile: dict[str, Any]) -> Iterator[Figure]:
    first_ms = sorted(1000 * one for tally in tallies for one in tally["first_s"])
    lost = [why for tally in tallies for why in tally["lost"]]
    tokens, messages = (sum(tally[name] for tally in tallies) for name in ("tokens", "messages"))
    how = (
        f"{scale.callers} processes keep {scale.streams} streams open through {scale.routers} routers, each followed "
        f"by another when it ends; the worker has {scale.texts} places, of which they fill four fifths; "
        f"texts begun in {0.8 * scale.window_s:g} s"
    )
    notes = {
        "texts": len(first_ms),
        "tokens_per_s": round(tokens / scale.window_s),
        "tokens_per_message": round(tokens / max(1, messages), 2),
        "why_lost": sorted(set(lost))[:5],
    }
    for share, bound in ((0.5, 210.0), (0.99, 1000.0)):
        yield Figure(
            what=f"first token at {scale.streams} open streams, through the mesh, p{share * 100:g}, ms",
            target=Target(bound, at_most=True),
            measured=first_ms[int(share * len(first_ms))] if first_ms else float("nan"),
            how=how,
            notes=notes | {"worker": profile} if share == 0.5 else notes,
        )
    yield Figure(what="streams lost", target=Target(0, at_most=True), measured=len(lost), how=how, notes=notes)
