"""The command of a benchmark on an accelerator: which parts, where, and what becomes of the figures."""

from __future__ import annotations

import argparse
import shlex
import sys
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console

from benchmarks.gpu.bench import Bench, Part
from benchmarks.gpu.device import describe, pick
from benchmarks.gpu.graph import can_capture
from benchmarks.gpu.report import LIBRARIES, Report
from benchmarks.machine import machine, versions

PLAIN_WIDTH = 130
RESULTS = Path(__file__).resolve().parents[1] / "results"


def run(
    name: str, doc: str | None, parts: Mapping[str, Part], *, title: str, arguments: Sequence[str] | None = None
) -> int:
    """Measure, show, write; returns 1 when a part failed. A target that is missed is no failure.

    What is measured is written at once: a run that is cut off loses the part that it was at.
    """
    results = RESULTS / f"{name}.json"
    parser = _options(name, doc, parts, results)
    options = parser.parse_args(arguments)
    output = options.output or (None if options.smoke else results)
    device = pick(options.device)
    if device.type == "cpu" and not options.smoke:
        parser.error("torch sees no accelerator here, and a CPU would take days; --smoke shows whether everything runs")
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    report = Report(
        title=title,
        command=shlex.join(["python", "-m", f"benchmarks.{name}", *(sys.argv[1:] if arguments is None else arguments)]),
        machine=machine() | describe(device),
        versions=versions(LIBRARIES),
        scale="smoke" if options.smoke else "full",
    )
    bench = Bench(device, smoke=options.smoke, graphs=options.graphs and can_capture(device), console=console)
    for part in options.only:
        bench.tell(part)
        try:
            report.figures[part] = parts[part](bench)
        except Exception as error:
            report.failures[part] = f"{type(error).__name__}: {error}"
            console.print(traceback.format_exc(), markup=False)
        if output is not None:
            report.write(output)
        bench.release()
    Console(width=None if sys.stdout.isatty() else PLAIN_WIDTH).print(report.table())
    return 1 if report.failures else 0


def _options(name: str, doc: str | None, parts: Mapping[str, Part], results: Path) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=f"python -m benchmarks.{name}", description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--only", nargs="+", choices=parts, default=list(parts), metavar="PART", help=f"of {', '.join(parts)}"
    )
    parser.add_argument("--device", default="auto", help="auto (the accelerator, else the CPU), cuda, xpu, cpu ...")
    parser.add_argument(
        "--smoke", action="store_true", help="tiny shapes, one round: whether everything runs; writes no results"
    )
    parser.add_argument(
        "--graphs",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="capture steps as graphs where torch can (default), or launch every operation",
    )
    parser.add_argument("--output", type=Path, help=f"where the figures go (default: {results}; with --smoke: nowhere)")
    return parser
