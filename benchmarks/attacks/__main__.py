"""python -m benchmarks.attacks [--seconds N]: what attacks do to a caller with manners, and to the router's memory.

Writes benchmarks/results/attacks.json: its p99 and failures, and the router's RSS, before, during and after each.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil

from benchmarks.attacks.attacks import ATTACKS
from benchmarks.identity_mesh import identity_mesh
from sluice import AsyncClient
from sluice.domain.errors import SluiceError

RESULTS = Path(__file__).parents[1] / "results" / "attacks.json"
RATE = 50.0


class GoodCaller:
    """Asks `RATE` times a second; `since` gives what it saw."""

    def __init__(self, client: AsyncClient, router: psutil.Process) -> None:
        self._client = client
        self._router = router
        self.latencies_s: list[float] = []
        self.failures = 0
        self.peak_bytes = 0

    async def seen(self, seconds: float) -> dict[str, Any]:
        """Call for so long; p99 in milliseconds, failures, and the router's largest RSS in MiB."""
        self.latencies_s, self.failures, self.peak_bytes = [], 0, 0
        begun_at = time.perf_counter()
        tasks = []
        for number in range(round(RATE * seconds)):
            await asyncio.sleep(max(0.0, begun_at + number / RATE - time.perf_counter()))
            tasks.append(asyncio.create_task(self._ask()))
            self.peak_bytes = max(self.peak_bytes, self._router.memory_info().rss)
        await asyncio.gather(*tasks)
        ordered = sorted(self.latencies_s) or [float("inf")]
        p99_ms = ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))] * 1000
        return {"p99_ms": round(p99_ms, 1), "failed": self.failures, "rss_mib": round(self.peak_bytes / 2**20)}

    async def _ask(self) -> None:
        sent_at = time.perf_counter()
        try:
            await self._client.infer("good", timeout_s=5)
        except SluiceError:
            self.failures += 1
        else:
            self.latencies_s.append(time.perf_counter() - sent_at)


async def measure(seconds: float) -> dict[str, dict[str, Any]]:
    """Before, during and after each attack."""
    rows: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as logs:
        mesh = identity_mesh(logs)
        async with mesh, AsyncClient(mesh.router) as client:
            caller = GoodCaller(client, psutil.Process(mesh.processes["router"].pid))
            await caller.seen(1.0)
            for name, attack in ATTACKS.items():
                before = await caller.seen(seconds)
                attacking = asyncio.create_task(attack(mesh.router, seconds + 1.0))
                await asyncio.sleep(0.5)
                during = await caller.seen(seconds)
                await attacking
                rows[name] = {"before": before, "during": during, "after": await caller.seen(seconds)}
                print(name, json.dumps(rows[name]), flush=True)
    return rows


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=3.0, help="of each part (default: %(default)s)")
    parser.add_argument("--output", type=Path, default=RESULTS, help="(default: %(default)s)")
    options = parser.parse_args()
    rows = asyncio.run(measure(options.seconds))
    options.output.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
