"""Does the mesh degrade instead of failing? `python -m benchmarks.overload [--quick] [--only N ...]`

Seven experiments, each with the mechanism on and off. Figures and pictures go into benchmarks/results/overload/.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import importlib
import os
import tempfile
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.overload.outcome import Outcome
from benchmarks.overload.stage import Stage

EXPERIMENTS = {
    1: "availability",
    2: "sweep",
    3: "reaction",
    4: "metastability",
    5: "conversations",
    6: "governor_loss",
    7: "routing_value",
}
PRECEDENCE = -5
RESULTS = Path(__file__).resolve().parents[1] / "results" / "overload"


def main() -> int:
    """Play the experiments that are asked for. Returns 1 if a claim of any does not hold, in the quick variant only
    those about a direction.
    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", type=int, nargs="+", choices=EXPERIMENTS, default=list(EXPERIMENTS), metavar="N")
    parser.add_argument("--quick", action="store_true", help="at most 20 s each: the direction, and no figure")
    parser.add_argument("--scale", type=float, default=1.0, help="times the length of full runs (default: 1)")
    parser.add_argument("--output", type=Path, default=RESULTS, help="where results go (default: %(default)s)")
    parser.add_argument("--keep-runs", action="store_true", help="keep each run too, for sluice plot")
    parser.add_argument("--logs", type=Path, help="where the meshes' logs go (default: nowhere)")
    options = parser.parse_args()
    console = Console(soft_wrap=True, highlight=False)
    go_first()
    failed = False
    for number in options.only:
        name = EXPERIMENTS[number]
        console.rule(f"{number} {name}")
        with tempfile.TemporaryDirectory() as scratch:
            logs = Path(options.logs or scratch) / name
            stage = Stage(logs=logs, quick=options.quick, scale=options.scale, say=console.print)
            experiment = importlib.import_module(f"benchmarks.overload.{name}")
            outcome: Outcome = asyncio.run(experiment.run(stage))
        outcome.problems = stage.problems
        outcome.write(options.output, f"{number}-{name}", quick=options.quick, keep_runs=options.keep_runs)
        console.print(table(outcome, quick=options.quick))
        for note in (*outcome.notes, *outcome.problems):
            console.print(f"note: {note}", style="yellow", markup=False)
        decisive = [check for check in outcome.checks if check.direction or not options.quick]
        failed = failed or not all(check.passed for check in decisive)
    return 1 if failed else 0


def go_first() -> None:
    """Let the load go before the mesh, as if it came from other machines. Where that is not permitted, it does not."""
    with contextlib.suppress(PermissionError):
        os.setpriority(os.PRIO_PROCESS, 0, PRECEDENCE)


def table(outcome: Outcome, *, quick: bool) -> Table:
    """The claims, and which of them hold."""
    found = Table(title=outcome.title, box=None, header_style="bold", title_justify="left", pad_edge=False)
    for column in ("claim", "target", "measured", ""):
        found.add_column(column, justify="left" if column in {"claim", ""} else "right")
    for check in outcome.checks:
        measured = "–" if check.value is None else f"{check.value:.4g}"
        verdict = "[green]holds[/]" if check.passed else "[red]does not hold[/]"
        if quick and not check.direction:
            verdict = "[dim]not judged[/]"
        found.add_row(check.name, check.target, measured, verdict)
    return found


if __name__ == "__main__":
    raise SystemExit(main())
