"""One run: a worker that measures itself first, routers before it, and callers who keep streams open."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import statistics
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
from benchmarks.writing.alone import DRAWN
from benchmarks.writing.scale import Scale, scale_of
from benchmarks.writing.worker import FOUND, PROFILE, SCALE
from sluice.cli.addresses import choose_ports
from sluice.cli.process import ServiceProcess

READY_TIMEOUT_S = 480.0
MODEL = "random"
LIMIT = "one step reads 3.1 GB of weights: at 4.2 TB/s 0.74 ms, so 1,350 tokens/s for a lone text"


def measure(bench: Bench) -> list[Figure]:
    """All figures. Raises ServiceFailed with the end of a log when a service is not ready."""
    scale = scale_of(smoke=bench.smoke)
    with tempfile.TemporaryDirectory(prefix="sluice-writing-") as scratch:
        found, tallies, profile = asyncio.run(_play(bench, scale, Path(scratch)))
    return [*_alone(scale, found), *_through_the_mesh(scale, tallies, profile)]


async def _play(
    bench: Bench, scale: Scale, scratch: Path
) -> tuple[dict[str, Any], list[dict[str, Any]], dict[str, Any]]:
    folder = scratch / MODEL
    folder.mkdir()
    (folder / SCALE).write_text(json.dumps(scale.content()), encoding="utf-8")
    worker, *routers = (f"127.0.0.1:{port}" for port in choose_ports(1 + scale.routers))
    services = [("benchmarks.writing.worker", worker, _worker(bench, scale, worker, scratch))]
    services += [("services.router", address, _router(scale, address, worker)) for address in routers]
    async with AsyncExitStack() as running:
        for module, address, settings in services:
            file = scratch / f"{address}.yaml"
            file.write_text(yaml.safe_dump(settings), encoding="utf-8")
            environ = os.environ | {"SLUICE_CONFIG": str(file)}  # noqa: TID251
            log = scratch / f"{address}.log"
            process = ServiceProcess(module, address=address, environ=environ, log=log, module=module)
            process.start()
            running.push_async_callback(_stop, process)
            bench.tell(f"{module}: waiting until it serves")
            await process.ready(READY_TIMEOUT_S)
            if address == worker:
                bench.tell("what the engine wrote by itself: " + (folder / FOUND).read_text(encoding="utf-8"))
        bench.tell(f"{scale.streams} streams")
        begins_anew = asyncio.create_task(_take_away(folder / PROFILE, after_s=scale.warm_s))
        tallies = await asyncio.gather(
            *(
                _call(routers[place % len(routers)], scale.streams // scale.callers, folder / SCALE)
                for place in range(scale.callers)
            )
        )
        await begins_anew
        found, profile = (json.loads((folder / name).read_text(encoding="utf-8")) for name in (FOUND, PROFILE))
        return found, list(tallies), profile


async def _take_away(profile: Path, *, after_s: float) -> None:
    await asyncio.sleep(after_s)
    await asyncio.to_thread(profile.unlink, missing_ok=True)


async def _call(address: str, streams: int, scale: Path) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.writing.callers", address, str(streams), str(scale)]
    process = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE)
    said, _ = await process.communicate()
    tally: dict[str, Any] = json.loads(said)
    return tally


async def _stop(process: ServiceProcess) -> None:
    process.signal(signal.SIGTERM)
    if not await process.ended(STOP_TIMEOUT_S):
        process.signal(signal.SIGKILL)


def _worker(bench: Bench, scale: Scale, address: str, root: Path) -> dict[str, Any]:
    entry = {"model": MODEL, "tier": "full", "checkpoint": MODEL}
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


def _alone(scale: Scale, found: dict[str, Any]) -> Iterator[Figure]:
    lone = statistics.median(one["tokens_per_s"] for one in found["lone"])
    many = statistics.median(one["tokens_per_s"] for one in found["many"])
    (mixed,) = found["mixed"]
    low, high = scale.prompt_tokens
    yield Figure(
        what="tokens per second, one text",
        target=Target(300),
        measured=lone,
        how="the worker's engine by itself, 64 tokens of prompt, greedy, bf16, prompts read and text made; " + LIMIT,
        spread=_spread([one["tokens_per_s"] for one in found["lone"]]),
        notes={"runs": found["lone"], "warm_up_s": round(found["warm_up_s"], 1), "device": found["lone_device"]},
    )
    yield Figure(
        what=f"tokens per second, {scale.many} prompts of {low} to {high} tokens, {scale.new_tokens} new",
        target=Target(15_000),
        measured=many,
        how="as above, all prompts at once, from the first prompt to the last token",
        spread=_spread([one["tokens_per_s"] for one in found["many"]]),
        notes={"runs": found["many"]},
    )
    for name, drawn in DRAWN.items():
        yield Figure(
            what=f"tokens per second, the same, {' and '.join(f'{key} {value}' for key, value in drawn.items())}",
            target=None,
            measured=max(one["tokens_per_s"] for one in found[name]),
            how="as above, the better of two runs: the first one captures graphs",
            notes={"runs": found[name]},
        )
    if mixed["peak_gb"] is not None:
        yield Figure(
            what=f"peak memory, {scale.mixed} texts of which every twentieth has {scale.long_tokens} tokens, GB",
            target=Target(scale.budget_gb, at_most=True),
            measured=mixed["peak_gb"],
            how=f"as above; the allocator is limited to {scale.budget_gb:g} GB, {scale.cache_gb:g} of it for texts",
            notes={"runs": found["mixed"]},
        )
    yield Figure(
        what="texts lost in that mix",
        target=Target(0, at_most=True),
        measured=mixed["lost"],
        how="as above",
    )
    yield Figure(
        what=f"tokens per second, {scale.streams} texts open all the time, without the mesh",
        target=None,
        measured=found["crowd"]["tokens_per_s"],
        how="as above, each text followed by another when it ends",
        notes={name: found["crowd"][name] for name in ("turns_of_the_loop", "device")},
    )


def _through_the_mesh(scale: Scale, tallies: list[dict[str, Any]], profile: dict[str, Any]) -> Iterator[Figure]:
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


def _spread(values: list[float]) -> tuple[float, float]:
    return min(values), max(values)
