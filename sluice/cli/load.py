"""`sluice load`: offer a mesh what it is to bear, and see what becomes of it."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.live import Live

from sluice.cli import arguments
from sluice.cli.addresses import configured
from sluice.cli.load_arguments import add_mix, add_shape, plan_of
from sluice.cli.load_report import progress, report
from sluice.load.part import LoadFailed
from sluice.load.result import result
from sluice.load.run import Recording, play
from sluice.load.schedule import arrivals
from sluice.load.trace import write_trace

EXAMPLES = """examples:
  sluice load --rate 500                                   500 requests a second for 30 s, as Poisson has them
  sluice load --rate 300,900@10,300@20 --duration 40       a step up at second 10, and down at second 20
  sluice load --rate 400 --spike 5x@20+10 --json run.json  5 times as many for 10 s from second 20 on
  sluice load --arrivals gamma:3 --rate 500 --plot run.png bursts, and a picture of what they did
  sluice load --rate 200 --conversations 5-10              5 to 10 turns each; lost if one of them fails
  sluice load --rate 800 --retries 3 --pushback ignore     clients that try again whatever they are told

What is sent when is fixed beforehand by --seed, so a slow mesh is not offered less. Latency runs from the instant for
which a request was scheduled. A run in which the generator itself was late is marked as not valid, and ends with 1.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the command's arguments."""
    parser.epilog = EXAMPLES
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--router", help="the router's address (default: router.listen of the configuration)")
    parser.add_argument("--governor", help="whose fleet to record (default: governor.listen of the configuration)")
    parser.add_argument("--no-governor", action="store_true", help="record no fleet")
    add_shape(parser.add_argument_group("when"))
    add_mix(parser.add_argument_group("what"))
    sending = parser.add_argument_group("how")
    sending.add_argument("--unary", action="store_true", help="a call of Infer each, in place of InferStream")
    sending.add_argument("--processes", type=arguments.count, default=1, help="that share the schedule (default: 1)")
    sending.add_argument("--connections", type=arguments.count, default=1, help="of each process (default: 1)")
    sending.add_argument(
        "--max-open", type=arguments.count, default=20_000, help="of a process; more have failed (default: %(default)s)"
    )
    sending.add_argument(
        "--tick",
        type=arguments.milliseconds,
        default=0.002,
        metavar="MS",
        help="that requests gather for a message (default: 2)",
    )
    out = parser.add_argument_group("results")
    out.add_argument("--json", type=Path, help="file for all results, with what happened in each window of time")
    out.add_argument("--plot", type=Path, help="file for a picture of them; needs sluice[plots]")
    out.add_argument("--window", type=arguments.seconds, default=1.0, help="seconds of a window (default: 1)")
    out.add_argument("--record", type=Path, help="file for the schedule, which --trace can replay")


async def run(options: argparse.Namespace) -> int:
    """Play the run and show what it came to; Ctrl-C ends it, and shows what was counted by then.

    Returns 1 when it could not be played, or the generator was at fault, and 130 when it was interrupted.
    """
    router = options.router or configured("router", os.environ)  # noqa: TID251  the command is a composition root
    governor = options.governor or configured("governor", os.environ)  # noqa: TID251
    plan = plan_of(options, router)
    if options.plot:
        from sluice.plot.drawing import require_matplotlib

        require_matplotlib()
    if options.record:
        write_trace(options.record, ((one.at_s, one.ask) for one in arrivals(plan)))
    console = Console(stderr=True)
    begun: list[Recording] = []
    interrupted = False
    try:
        with Live(console=console, auto_refresh=False, transient=True) as live:
            show = partial(_show, live) if console.is_terminal else id
            watched = "" if options.no_governor else governor
            await play(plan, governor=watched, on_begin=begun.append, on_progress=show)
    except LoadFailed as error:
        print(f"sluice load: {error}", file=sys.stderr)
        return 1
    except asyncio.CancelledError:
        interrupted = True
    return _tell(begun, options) or (130 if interrupted else 0)


def _tell(begun: list[Recording], options: argparse.Namespace) -> int:
    """Show and write what was counted; returns 1 if the generator was at fault."""
    if not begun:
        return 0
    results = result(begun[0])
    if options.json:
        options.json.write_text(json.dumps(results) + "\n", encoding="utf-8")
    if options.plot:
        from sluice.plot.drawing import draw

        draw([("", results)], options.plot)
    Console().print(report(results))
    return 0 if results["valid"] else 1


def _show(live: Live, recording: Recording) -> None:
    live.update(progress(recording), refresh=True)
