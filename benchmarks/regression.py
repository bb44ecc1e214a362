"""Is this checkout slower than another? python -m benchmarks.regression --baseline REVISION [--rounds N] [--seconds S]

Two meshes of real processes with the identity backend, this checkout's and that of an earlier revision, run side by
side in the same environment. Rounds alternate between them, driven by this copy of the load generator. Writes the
ratio of rates (this one over the baseline) of each round, and their medians, to benchmarks/results/regression.json.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import uvloop
import yaml
from rich.console import Console
from rich.table import Table

from benchmarks.closed_loop import stream, unary
from benchmarks.identity_mesh import IDENTITY
from benchmarks.machine import machine
from sluice.cli.addresses import choose_ports
from sluice.cli.process import ServiceProcess

ROOT = Path(__file__).resolve().parents[1]
RESULTS = Path(__file__).parent / "results" / "regression.json"
SERVICES = ("governor", "cpu_worker", "router")
READY_S = 60.0
STOP_S = 15.0
TARGET = 0.97
MEASUREMENTS = {
    **{f"Infer, {number} in flight": partial(unary, in_flight=number) for number in (1, 64, 256)},
    **{f"InferStream, {number} open": partial(stream, in_flight=number) for number in (64, 1024)},
}


@contextmanager
def checkout_of(revision: str) -> Iterator[Path]:
    """A work tree of `revision`, while the block runs."""
    with tempfile.TemporaryDirectory(prefix="sluice-baseline-") as folder:
        path = Path(folder) / "tree"
        git = ["git", "-C", str(ROOT), "worktree"]
        subprocess.run([*git, "add", "--quiet", "--detach", str(path), revision], check=True)
        try:
            yield path
        finally:
            subprocess.run([*git, "remove", "--force", str(path)], check=True)


@asynccontextmanager
async def mesh_of(tree: Path, scratch: Path) -> AsyncIterator[str]:
    """The router's address of a mesh whose programs are those of `tree`; logs and settings lie in `scratch`."""
    addresses = dict(zip(SERVICES, (f"127.0.0.1:{port}" for port in choose_ports(len(SERVICES))), strict=True))
    settings: dict[str, dict[str, Any]] = {name: {"listen": address} for name, address in addresses.items()}
    for name in ("cpu_worker", "router"):
        settings[name]["governor"] = addresses["governor"]
    settings["cpu_worker"]["models"] = [IDENTITY]
    settings["router"]["workers"] = [addresses["cpu_worker"]]
    environ = {
        **os.environ,  # noqa: TID251  handed on to the services
        "SLUICE_CONFIG": str(_written(scratch, settings)),
        # Only the tree's own modules: neither those of the current directory nor those that are installed.
        "PYTHONSAFEPATH": "1",
        "PYTHONPATH": str(tree),
    }
    processes = [
        ServiceProcess(name, address=addresses[name], environ=environ, log=scratch / f"{name}.log") for name in SERVICES
    ]
    try:
        for process in processes:
            process.start()
            await process.ready(READY_S)
        yield addresses["router"]
    finally:
        for process in reversed(processes):
            process.signal(signal.SIGTERM)
            if not await process.ended(STOP_S):
                process.signal(signal.SIGKILL)


def _written(folder: Path, settings: dict[str, dict[str, Any]]) -> Path:
    folder.mkdir()
    file = folder / "mesh.yaml"
    file.write_text(yaml.safe_dump(settings), encoding="utf-8")
    return file


async def measure(options: argparse.Namespace, console: Console, baseline: Path) -> dict[str, Any]:
    """All rounds; in each the two meshes take turns, and who is first changes."""
    rates: dict[str, dict[str, list[float]]] = {name: {"this": [], "baseline": []} for name in MEASUREMENTS}
    with tempfile.TemporaryDirectory(prefix="sluice-regression-") as folder:
        async with AsyncExitStack() as stack:
            routers = {
                "this": await stack.enter_async_context(mesh_of(ROOT, Path(folder) / "this")),
                "baseline": await stack.enter_async_context(mesh_of(baseline, Path(folder) / "baseline")),
            }
            for number in range(options.rounds):
                console.print(f"round {number + 1} of {options.rounds}", style="dim")
                order = list(routers) if number % 2 else list(reversed(routers))
                for name, load in MEASUREMENTS.items():
                    for which in order:
                        figures = await load(routers[which], seconds=options.seconds)
                        rates[name][which].append(figures.per_s)
    return {"machine": machine(), "baseline": options.baseline, "per_s": rates, "ratio": ratios(rates)}


def ratios(rates: dict[str, dict[str, list[float]]]) -> dict[str, dict[str, Any]]:
    """Of each measurement the ratio of every round, and the median of those."""
    found = {}
    for name, both in rates.items():
        rounds = [round(new / old, 3) for new, old in zip(both["this"], both["baseline"], strict=True)]
        found[name] = {"median": round(statistics.median(rounds), 3), "rounds": rounds}
    return found


def show(result: dict[str, Any], console: Console) -> None:
    """The table."""
    table = Table(title=f"rate over that of {result['baseline']}", box=None, title_justify="left")
    for column in ("what", "target", "median", "rounds"):
        table.add_column(column)
    for name, one in result["ratio"].items():
        table.add_row(name, f">= {TARGET}", str(one["median"]), " ".join(map(str, one["rounds"])))
    console.print(table)


def main() -> int:
    """Measure, show, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--baseline", required=True, metavar="REVISION", help="the commit to compare with")
    parser.add_argument("--rounds", type=int, default=7, help="rounds of all measurements (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=3.0, help="length of one measurement (default: %(default)s)")
    parser.add_argument("--output", type=Path, default=RESULTS, help="where the figures go (default: %(default)s)")
    options = parser.parse_args()
    console = Console()
    with checkout_of(options.baseline) as baseline:
        result = uvloop.run(measure(options, console, baseline))
    show(result, console)
    options.output.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
