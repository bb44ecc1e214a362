"""python -m benchmarks.memory: what calls with very large fields leave of a router's memory.

Writes benchmarks/results/memory.json. Each row has a router of its own, which has first answered some thousand ordinary
calls: before that it has neither imported nor cached what any router has after its first second of work. A process of
its own then attacks; in one round it closes its connections at the end, in another one it keeps them. RSS in MiB.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import psutil

from benchmarks.attacks.large_requests import BURSTS
from benchmarks.identity_mesh import identity_mesh
from benchmarks.machine import machine, versions

RESULTS = Path(__file__).parent / "results" / "memory.json"
ROUNDS = {"connections closed": ("--hang-up",), "connections kept": ()}
SETTLE_S = 7.0
AFTER_S = (30, 60)
POLL_S = 0.02
MIB = 2**20


class Watched:
    """A program's RSS in MiB; `peak` is the most that was seen since it was last set to 0."""

    def __init__(self, pid: int) -> None:
        self._process = psutil.Process(pid)
        self.peak = 0.0

    def now(self) -> float:
        """As it is."""
        mib: float = self._process.memory_info().rss / MIB
        self.peak = max(self.peak, mib)
        return round(mib, 1)

    async def watch(self) -> None:
        """Look often, until cancelled or the program has ended."""
        with suppress(psutil.NoSuchProcess):
            while True:
                self.now()
                await asyncio.sleep(POLL_S)


@asynccontextmanager
async def attacker(address: str, name: str, *options: str) -> AsyncIterator[dict[str, int]]:
    """A process that attacks; the block begins when all its calls have ended, and ends the process."""
    command = (sys.executable, "-m", "benchmarks.attacks.large_requests", address, name, *options)
    process = await asyncio.create_subprocess_exec(*command, stdin=PIPE, stdout=PIPE)
    try:
        yield json.loads(await process.stdout.readline())  # type: ignore[union-attr]
    finally:
        process.stdin.close()  # type: ignore[union-attr]
        await process.wait()


async def measure(name: str, *options: str) -> dict[str, Any]:
    """One row."""
    with tempfile.TemporaryDirectory() as logs:
        mesh = identity_mesh(logs)
        async with mesh:
            router = Watched(mesh.processes["router"].pid)
            started = router.now()
            async with attacker(mesh.router, "ordinary", "--hang-up"):
                pass
            await asyncio.sleep(SETTLE_S)
            row: dict[str, Any] = {"started": started, "before": router.now()}
            router.peak = 0.0
            watching = asyncio.create_task(router.watch())
            async with attacker(mesh.router, name, *options) as ends:
                watching.cancel()
                row["peak"] = round(router.peak, 1)
                waited = 0
                for after in AFTER_S:
                    await asyncio.sleep(after - waited)
                    waited = after
                    row[f"after_{after}_s"] = router.now()
            row["growth_percent"] = round(100 * (row[f"after_{AFTER_S[-1]}_s"] / row["before"] - 1), 1)
            return {**row, "calls": ends}


async def measure_all(names: list[str]) -> dict[str, Any]:
    """Every attack in both rounds."""
    rows: dict[str, Any] = {}
    for round_, options in ROUNDS.items():
        rows[round_] = {}
        for name in names:
            rows[round_][name] = await measure(name, *options)
            print(f"{name}, {round_}:", json.dumps(rows[round_][name]), flush=True)
    return rows


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--attack", action="append", choices=BURSTS, help="only this one; may be repeated")
    parser.add_argument("--output", type=Path, default=RESULTS, help="(default: %(default)s)")
    options = parser.parse_args()
    rows = asyncio.run(measure_all(options.attack or list(BURSTS)))
    result = {"machine": machine(), "versions": versions(["grpcio", "uvloop", "protobuf"]), "rss_mib": rows}
    options.output.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
