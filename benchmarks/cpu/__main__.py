"""The CPU tiers against their targets: python -m benchmarks.cpu [--only ROW,...] [--quick]

Every figure is a ratio within one run: what is compared is measured in turn, in the same minutes, and the median of
the rounds counts. Prints a table and writes benchmarks/results/cpu.json.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import traceback
from collections.abc import Sequence
from pathlib import Path

import uvloop
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from benchmarks.cpu import memory, padding, peer, quality, served, size, speed, writing
from benchmarks.cpu.bench import CACHE, Bench, Row
from benchmarks.cpu.report import LIBRARIES, Report
from benchmarks.cpu.scale import FULL, QUICK
from benchmarks.machine import machine, versions
from sluice.cli.stages import Stages

PLAIN_WIDTH = 110
RESULTS = Path(__file__).resolve().parents[1] / "results" / "cpu.json"
ROWS: dict[str, Row] = {
    "speed": speed.measure,
    "quality": quality.measure_int8,
    "size": size.measure_int8,
    "memory": memory.measure,
    "served": served.measure,
    "padding": padding.measure,
    "mlserver": peer.measure,
    "int4-size": size.measure_int4,
    "int4-quality": quality.measure_int4,
    "writing": writing.measure,
}


async def measure(rows: Sequence[str], bench: Bench, report: Report, console: Console) -> None:
    """Measure `rows` into `report`. A row that fails says why, and costs the others nothing."""
    for row in rows:
        report.load_before[row] = os.getloadavg()[0]
        try:
            report.figures[row] = await ROWS[row](bench)
        except Exception as error:
            report.failures[row] = f"{type(error).__name__}: {error}"
            console.print(traceback.format_exc(), markup=False, highlight=False, soft_wrap=True)


def rows_of(text: str) -> list[str]:
    """The rows that --only names, in the order of ROWS. Raises ArgumentTypeError for one that is none."""
    named = {name.strip() for name in text.split(",")}
    unknown = sorted(named - ROWS.keys())
    if unknown:
        raise argparse.ArgumentTypeError(f"{', '.join(unknown)}: there are {', '.join(ROWS)}")
    return [row for row in ROWS if row in named]


def main() -> int:
    """Measure, show, write. Returns 1 when a row failed; a target that is missed is no failure."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.cpu", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--only", type=rows_of, default=list(ROWS), metavar="ROW,...", help=f"of {', '.join(ROWS)} (default: all)"
    )
    parser.add_argument(
        "--quick", action="store_true", help="tiny models, one round: whether everything runs; writes no results"
    )
    parser.add_argument("--output", type=Path, help=f"where the figures go (default: {RESULTS}; with --quick: nowhere)")
    parser.add_argument(
        "--cache", type=Path, default=CACHE, help="where checkpoints and graphs are kept (default: %(default)s)"
    )
    options = parser.parse_args()
    scale = QUICK if options.quick else FULL
    output = options.output or (None if options.quick else RESULTS)
    report = Report(machine=machine(), versions=versions(LIBRARIES), scale=scale.name)
    console = Console(stderr=True)
    columns = (TextColumn("{task.description:<40}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    # In a file, bars would be but noise.
    bars = Progress(*columns, console=console, disable=not console.is_terminal)
    with tempfile.TemporaryDirectory(prefix="sluice-bench-") as scratch, bars:
        bench = Bench(scale, scratch=Path(scratch), progress=Stages(bars), cache=options.cache.resolve())
        uvloop.run(measure(options.only, bench, report, console))
    out = Console(width=None if sys.stdout.isatty() else PLAIN_WIDTH)
    out.print(report.table())
    if report.busy:
        out.print(f"Others kept the machine busy (load average {report.busy:.1f} at the start): measure again.")
    if output is not None:
        report.write(output)
    return 1 if report.failures else 0


if __name__ == "__main__":
    raise SystemExit(main())
