"""What the mesh adds to a bare call: python -m benchmarks.overhead [--seconds S] [--rounds N] [--no-oip]

A mesh of real processes with the identity backend against a bare one-hop grpc.aio echo: same client, same run, closed
loop, rounds of the two in turn. Ratios are medians over the rounds. Writes benchmarks/results/overhead.json.
"""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import uvloop
from rich.console import Console
from rich.table import Table

from benchmarks.child import child
from benchmarks.closed_loop import Figures, burst, stream, unary
from benchmarks.foreign import tritonclient_python
from benchmarks.identity_mesh import identity_mesh
from benchmarks.machine import machine
from sluice.cli.addresses import free_port

RESULTS = Path(__file__).parent / "results" / "overhead.json"
IN_FLIGHT = (1, 64, 256)
STREAM_IN_FLIGHT = (64, 256, 1024)
BURST = 2_000


@asynccontextmanager
async def echo(*, tuned: bool) -> AsyncIterator[str]:
    """The address of a bare server, while the block runs."""
    address = f"127.0.0.1:{free_port()}"
    command = [sys.executable, "-m", "benchmarks.echo_server", address, *(["tuned"] if tuned else [])]
    async with child(command):
        async with grpc.aio.insecure_channel(address) as channel:
            await asyncio.wait_for(channel.channel_ready(), 30)
        yield address


async def measure(options: argparse.Namespace, console: Console) -> dict[str, Any]:
    """All figures of one run."""
    figures: dict[str, list[Figures]] = {}
    with tempfile.TemporaryDirectory() as logs:
        mesh = identity_mesh(logs)
        async with mesh, echo(tuned=False) as plain, echo(tuned=True) as tuned:
            for round_number in range(options.rounds):
                console.print(f"round {round_number + 1} of {options.rounds}", style="dim")
                for in_flight in IN_FLIGHT:
                    for name, address in (("echo", plain), ("tuned echo", tuned), ("mesh", mesh.router)):
                        one = await unary(address, in_flight=in_flight, seconds=options.seconds)
                        figures.setdefault(f"{name} {in_flight}", []).append(one)
                for in_flight in STREAM_IN_FLIGHT:
                    one = await stream(mesh.router, in_flight=in_flight, seconds=options.seconds)
                    figures.setdefault(f"stream {in_flight}", []).append(one)
            answered = await burst(mesh.router, callers=BURST)
            oip = {} if options.no_oip else await oip_rates(mesh.router, options)
    return summarise(figures, answered, oip)


async def oip_rates(router: str, options: argparse.Namespace) -> dict[str, float]:
    """Answers per second through the Open Inference Protocol, by stock tritonclient."""
    python = await asyncio.to_thread(tritonclient_python)
    program = Path(__file__).with_name("oip_load.py")
    rates: dict[str, list[float]] = {}
    for _ in range(options.rounds):
        for in_flight in (64, 256):
            process = await asyncio.create_subprocess_exec(
                python, program, router, str(in_flight), str(options.seconds), stdout=subprocess.PIPE
            )
            output, _ = await process.communicate()
            rates.setdefault(str(in_flight), []).append(float(output))
    return {name: statistics.median(values) for name, values in rates.items()}


def summarise(figures: dict[str, list[Figures]], answered: int, oip: dict[str, float]) -> dict[str, Any]:
    """Medians, and the ratios that the targets speak of."""

    def median(name: str, field: str) -> float:
        return statistics.median(getattr(one, field) for one in figures[name])

    def ratio(name: str, reference: str) -> float:
        pairs = zip(figures[name], figures[reference], strict=True)
        return statistics.median(one.per_s / other.per_s for one, other in pairs)

    added = [one.p50_ms - other.p50_ms for one, other in zip(figures["mesh 1"], figures["echo 1"], strict=True)]
    return {
        "machine": machine(),
        "medians": {
            name: {field.name: round(median(name, field.name), 3) for field in dataclasses.fields(Figures)}
            for name in figures
        },
        "unary_ratio": {str(number): round(ratio(f"mesh {number}", f"echo {number}"), 3) for number in IN_FLIGHT},
        "unary_ratio_to_tuned_echo": {
            str(number): round(ratio(f"mesh {number}", f"tuned echo {number}"), 3) for number in IN_FLIGHT
        },
        "unary_per_s_at_64": round(median("mesh 64", "per_s")),
        "stream_ratio_to_unary_echo": {
            str(number): round(ratio(f"stream {number}", "echo 64"), 2) for number in STREAM_IN_FLIGHT
        },
        "added_p50_ms_at_1": round(statistics.median(added), 3),
        "burst_answered": answered,
        "burst_offered": BURST,
        "oip_per_s": {name: round(rate) for name, rate in oip.items()},
    }


def show(result: dict[str, Any], console: Console) -> None:
    """The table."""
    table = Table(title="medians of the run", box=None, header_style="bold", title_justify="left")
    for column in ("what", "per s", "p50 ms", "p99 ms"):
        table.add_column(column, justify="left" if column == "what" else "right")
    for name, values in result["medians"].items():
        table.add_row(name, f"{values['per_s']:,.0f}", f"{values['p50_ms']:.2f}", f"{values['p99_ms']:.2f}")
    console.print(table)
    targets = Table(box=None, header_style="bold")
    for column in ("figure", "target", "measured"):
        targets.add_column(column)
    targets.add_row("unary, mesh / echo at 64", ">= 0.70", str(result["unary_ratio"]["64"]))
    targets.add_row("unary per s at 64", ">= 4,200", f"{result['unary_per_s_at_64']:,}")
    targets.add_row("stream / unary echo", ">= 1.5", str(max(result["stream_ratio_to_unary_echo"].values())))
    targets.add_row("added p50 at 1, ms", "<= 0.8", str(result["added_p50_ms_at_1"]))
    targets.add_row("concurrent callers answered", f"{BURST}", str(result["burst_answered"]))
    for name, rate in result["oip_per_s"].items():
        targets.add_row(f"OIP per s at {name}", {"64": "> 3,926", "256": "> 4,773"}[name], f"{rate:,}")
    console.print(targets)


def main() -> None:
    """Measure, show, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=3.0, help="length of one measurement (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="rounds of all measurements (default: %(default)s)")
    parser.add_argument("--no-oip", action="store_true", help="leave out the foreign client, which needs a registry")
    parser.add_argument("--output", type=Path, default=RESULTS, help="where the figures go (default: %(default)s)")
    options = parser.parse_args()
    console = Console()
    result = uvloop.run(measure(options, console))
    show(result, console)
    options.output.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
