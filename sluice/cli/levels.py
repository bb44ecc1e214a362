"""`sluice levels`: how the fleet's level has changed, and by what signals."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
from collections.abc import AsyncGenerator, Sequence
from dataclasses import asdict
from datetime import datetime

import grpc
from rich.console import Console
from rich.table import Table
from rich.text import Text

from sluice.cli import arguments
from sluice.cli.addresses import configured
from sluice.control.codec import transition_from_proto
from sluice.control.degradation.level_state import FULL_SERVICE
from sluice.control.degradation.signals import Signals
from sluice.control.fleet import Transition
from sluice.control.snapshot import snapshots
from sluice.domain.enums import Level
from sluice.domain.status import duration
from sluice.runtime.channel import proxy_options
from sluice.v1 import governor_service_pb2 as governor_pb2
from sluice.v1 import governor_service_pb2_grpc as governor_grpc

COLUMNS = ("time", "before", "after", "why", "signals")
PLAIN_WIDTH = 160
FIRST_ANSWER_S = 5.0
MOST_CHANGES = 2**31


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the command's arguments."""
    parser.add_argument("--governor", help="the governor's address (default: governor.listen of the configuration)")
    parser.add_argument("--last", type=arguments.count, default=20, help="how many changes (default: %(default)s)")
    parser.add_argument("--follow", action="store_true", help="go on with each new change until Ctrl-C")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")


async def run(options: argparse.Namespace) -> int:
    """Print the changes, oldest first. Returns 1 when the governor cannot be reached or goes away."""
    governor = options.governor or configured("governor", os.environ)  # noqa: TID251  a composition root
    console = Console(width=None if sys.stdout.isatty() else PLAIN_WIDTH)
    heard = changes(governor, last=options.last)
    try:
        _print(console, await asyncio.wait_for(anext(heard), FIRST_ANSWER_S), options, is_first=True)
        if not options.follow:
            await heard.aclose()
            return 0
        async for transitions in heard:
            _print(console, transitions, options, is_first=False)
        why = "it ended the stream"
    except grpc.aio.AioRpcError as error:
        why = error.details() or error.code().name
    except TimeoutError:
        why = f"no answer within {FIRST_ANSWER_S:g} s"
    except asyncio.CancelledError:
        return 0
    print(f"the governor at {governor} cannot be reached: {why}", file=sys.stderr)
    print("Start a mesh with: sluice up", file=sys.stderr)
    return 1


async def changes(governor: str, *, last: int) -> AsyncGenerator[list[Transition], None]:
    """The newest `last` changes, then those that have come since, as they come."""
    async with grpc.aio.insecure_channel(governor, options=proxy_options(governor)) as channel:
        stub = governor_grpc.GovernorServiceStub(channel)
        request = governor_pb2.WatchFleetRequest(interval=duration(1.0), history=min(last, MOST_CHANGES))
        async for _, transitions in snapshots(stub.WatchFleet(request)):
            yield [transition_from_proto(one) for one in transitions]


def as_json(transition: Transition) -> str:
    """One line of JSON; what was unknown is null."""
    directive = transition.directive
    values = {
        "at": transition.at.isoformat(),
        "before": [level.name.lower() for level in transition.before],
        "after": [level.name.lower() for level in directive.levels],
        "offload_share": directive.offload_share,
        "lighten_share": directive.lighten_share,
        "admit_scale": directive.admit_scale,
        "precision": directive.precision.label,
        "reason": directive.reason,
        "epoch": directive.epoch,
        "revision": directive.revision,
        "signals": {name: value for name, value in asdict(transition.signals).items() if name != "alone"},
    }
    return json.dumps(values)


def picture(transitions: Sequence[Transition], *, header: bool = True) -> Table:
    """A row for each change."""
    table = Table(box=None, pad_edge=False, header_style="bold", show_header=header)
    for place, column in enumerate(COLUMNS):
        table.add_column(column, no_wrap=place == 0, overflow="fold")
    for one in transitions:
        after = Text(str(one.directive.degradation), style="bold red" if one.directive.levels else "bold green")
        table.add_row(
            _local(one.at),
            Text(_names(one.before)),
            after,
            Text(one.directive.reason),
            Text(_told(one.signals), style="dim"),
        )
    return table


def _print(console: Console, transitions: list[Transition], options: argparse.Namespace, *, is_first: bool) -> None:
    if options.json:
        for one in transitions:
            print(as_json(one), flush=True)
    elif transitions:
        console.print(picture(transitions, header=is_first))
    elif is_first:
        console.print("the level has not changed since the governor began to remember")


def _local(at: datetime) -> str:
    return at.astimezone().strftime("%Y-%m-%d %H:%M:%S.%f")[:-5]


def _names(levels: tuple[Level, ...]) -> str:
    return ", ".join(level.name.lower() for level in levels) or str(FULL_SERVICE)


def _told(signals: Signals) -> str:
    ratios = {
        "busy": signals.utilization,
        "cpu": signals.cpu_utilization,
        "memory": signals.memory_anywhere,
        "missed": signals.deadline_miss_ratio,
        "refused": signals.refused_ratio,
        "diverted": signals.offloaded_utilization,
    }
    told = [f"{name} {value:.0%}" for name, value in ratios.items() if value is not None]
    if signals.delay_s is not None:
        told.append(f"queue {signals.delay_s * 1000:.0f} ms")
    return ", ".join(told) or "none were known"
