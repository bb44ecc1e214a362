"""A seeded fuzz of every public message against a live mesh: python -m tests.fuzz [--messages N] [--seed S]

Callers, members, a worker and a governor that say anything attack five real processes. The run fails if a process
exits, a log tells of an unhandled exception, an offered request has no outcome or two, or honest callers are not
served afterwards. What is found is printed with the seed; logs and offending messages are kept.
"""

from __future__ import annotations

import argparse
import asyncio
import secrets
import sys
from pathlib import Path

from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, TimeElapsedColumn, TimeRemainingColumn

from tests.fuzz.campaign import MIB, Report, run


def main() -> int:
    """Run once; returns 1 if anything was found."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--messages", type=int, default=100_000, help="how many to send (default: 100,000)")
    parser.add_argument("--seconds", type=float, default=1800, help="stop after so long all the same (default: 1800)")
    parser.add_argument("--seed", type=int, help="repeat the inputs of an earlier run (default: a new one)")
    parser.add_argument("--only", default="", metavar="TARGET", help="one target, such as Infer or Join (default: all)")
    parser.add_argument("--logs", type=Path, default=Path(".sluice/fuzz"), help="where logs and messages are kept")
    options = parser.parse_args()
    seed = options.seed if options.seed is not None else secrets.randbits(32)
    console = Console(stderr=True)
    columns = (*Progress.get_default_columns()[:2], MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        bar = progress.add_task(f"seed {seed}", total=options.messages)
        report = asyncio.run(
            run(
                seed=seed,
                messages=options.messages,
                seconds=options.seconds,
                folder=options.logs.resolve() / str(seed),
                only=options.only,
                on_sent=lambda count: progress.advance(bar, count),
            )
        )
    print(describe(report))
    return 1 if report.findings else 0


def describe(report: Report) -> str:
    """The report for people."""
    lines = [f"seed {report.seed}: {report.messages} messages in {report.seconds:.0f} s"]
    lines += [f"  {name}: {count}" for name, count in sorted(report.sent.items())]
    lines += [
        f"  {name}: {before / MIB:.0f} MiB before, {report.rss_after.get(name, 0) / MIB:.0f} MiB after"
        for name, before in report.rss_before.items()
    ]
    lines += [f"{len(report.findings)} findings", *(f"- {count} x {one}" for one, count in report.findings.items())]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
