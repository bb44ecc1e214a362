"""How soon level 2 takes effect on a busy worker, and what it costs: python -m benchmarks.swap [--rounds N] [--smoke]

The demo's models on a mesh of real processes. Callers keep texts and classifications open while an operator orders
level 2 and lets go of it, in turn. Counted are the seconds from each order until copies answer what is asked, and full
models again, and every request that failed. Writes benchmarks/results/swap.json.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

import grpc
from rich.console import Console

from benchmarks.figure import Figure, Target
from benchmarks.gpu.report import Report
from benchmarks.machine import machine, versions
from sluice.cli.mesh import LocalMesh
from sluice.client import AsyncClient
from sluice.control.codec import degradation_to_proto
from sluice.control.degradation.level_state import DegradationState
from sluice.domain.enums import Level, Tier
from sluice.domain.errors import SluiceError
from sluice.v1 import governor_service_pb2 as governor_pb2
from sluice.v1 import governor_service_pb2_grpc as governor_grpc

RESULTS = Path(__file__).resolve().parent / "results" / "swap.json"
TARGET_S = 2.0
WRITERS, ASKERS = 6, 4
HELD_S, AWAY_S, PATIENCE_S = 4.0, 4.0, 60.0
TEXT = "I never got my parcel, and now I want my money back."
HOW = (
    f"demo's models, CPU: {WRITERS} texts and {ASKERS} classifications always open, minimum tier none; seconds from an "
    "operator's order to the beginning of the first request that the other form answered"
)


@dataclass(slots=True)
class Seen:
    """Answers as (begun, ended, tier) in seconds of the monotonic clock, and why others failed."""

    texts: list[tuple[float, float, Tier]] = field(default_factory=list)
    labels: list[tuple[float, float, Tier]] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)

    async def keep(self, ask: Callable[[], Awaitable[Tier]], into: list[tuple[float, float, Tier]]) -> None:
        """Ask again and again."""
        while True:
            begun_at = time.monotonic()
            try:
                tier = await ask()
            except SluiceError as error:
                self.failed.append(f"{error.reason}: {error.message}")
                await asyncio.sleep(0.1)
            else:
                into.append((begun_at, time.monotonic(), tier))


async def play(rounds: int, logs: Path) -> tuple[Seen, dict[str, list[float]]]:
    """The whole course; seconds by what was waited for."""
    models = [
        {
            "model": f"support-{name}",
            "tier": "full",
            "checkpoint": f"support-{name}-full",
            "distilled": f"support-{name}-light",
        }
        for name in ("intent", "chat")
    ]
    mesh = LocalMesh(
        {"governor": {}, "router": {}, "gpu_worker": {"models": models, "device": "cpu"}},
        environ=os.environ,  # noqa: TID251
        services=("governor", "gpu_worker", "router"),
        free_ports=True,
        log_directory=logs,
        on_event=lambda *_: None,
    )
    seen, waits = Seen(), {}
    async with mesh, AsyncClient(mesh.router, timeout_s=PATIENCE_S) as client:

        async def write() -> Tier:
            return (await client.generate(TEXT, max_new_tokens=60).read()).tier

        async def ask() -> Tier:
            # Complex, so that nothing but the full model is wanted.
            return (await client.infer(TEXT, model="support-intent")).tier

        tasks = [asyncio.create_task(seen.keep(write, seen.texts)) for _ in range(WRITERS)]
        tasks += [asyncio.create_task(seen.keep(ask, seen.labels)) for _ in range(ASKERS)]
        await asyncio.sleep(AWAY_S)
        for _ in range(rounds):
            for tier in (Tier.LIGHT, Tier.FULL):
                ordered_at = time.monotonic()
                await _order(mesh.addresses["governor"], lighten=tier is Tier.LIGHT)
                for kind, answers in (("texts", seen.texts), ("labels", seen.labels)):
                    took_s = await _first(answers, tier, ordered_at) - ordered_at
                    waits.setdefault(f"{kind}_to_{tier.label}_s", []).append(took_s)
                await asyncio.sleep(HELD_S)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return seen, waits


async def _first(answers: list[tuple[float, float, Tier]], tier: Tier, since: float) -> float:
    """When the first answer by `tier` ended that was begun after `since`; gives up after PATIENCE_S."""
    while time.monotonic() < since + PATIENCE_S:
        for begun_at, _, by in answers:
            if by is tier and begun_at >= since:
                # The copy served when this was begun, at the latest.
                return begun_at
        await asyncio.sleep(0.02)
    return float("inf")


async def _order(governor: str, *, lighten: bool) -> None:
    request = governor_pb2.SetDegradationRequest(reason="benchmark")
    if lighten:
        content = DegradationState(levels=(Level.LIGHTEN,), lighten_share=1.0)
        request.degradation.CopyFrom(degradation_to_proto(content))
        request.duration.seconds = 60
    async with grpc.aio.insecure_channel(governor) as channel:
        await governor_grpc.GovernorServiceStub(channel).SetDegradation(request, timeout=5)


def figures(seen: Seen, waits: dict[str, list[float]]) -> list[Figure]:
    """What came of it."""
    notes = {"answers": len(seen.texts) + len(seen.labels), "why_failed": sorted(set(seen.failed))[:5]}
    found = [
        Figure(
            what=name.replace("_", " ").removesuffix(" s") + ", median, s",
            target=Target(TARGET_S, at_most=True) if name.endswith("to_light_s") else None,
            measured=statistics.median(values),
            how=HOW,
            spread=(min(values), max(values)),
            notes=notes,
        )
        for name, values in waits.items()
    ]
    return [
        *found,
        Figure(what="requests failed", target=Target(0, at_most=True), measured=len(seen.failed), how=HOW, notes=notes),
    ]


def main() -> int:
    """Play, show, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="orders of each kind (default: %(default)s)")
    parser.add_argument("--smoke", action="store_true", help="one round, and nothing is written")
    options = parser.parse_args()
    rounds = 1 if options.smoke else options.rounds
    with tempfile.TemporaryDirectory(prefix="sluice-swap-") as scratch:
        seen, waits = asyncio.run(play(rounds, Path(scratch)))
    report = Report(
        title="Level 2 on a busy worker",
        command=f"python -m benchmarks.swap --rounds {rounds}",
        machine=machine(),
        versions=versions(("torch", "transformers")),
        scale="smoke" if options.smoke else "full",
    )
    report.figures["swap"] = figures(seen, waits)
    if not options.smoke:
        report.write(RESULTS)
    Console(width=None if sys.stdout.isatty() else 130).print(report.table())
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
