"""`sluice top`: the fleet, live in the terminal."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections.abc import AsyncGenerator

import grpc
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from sluice.cli.addresses import configured
from sluice.cli.top_trends import Trends
from sluice.control.codec import fleet_from_proto
from sluice.control.degradation.report import Report
from sluice.control.fleet import Fleet, Member
from sluice.control.snapshot import snapshots
from sluice.domain.enums import MemberKind
from sluice.domain.status import duration
from sluice.runtime.channel import proxy_options
from sluice.v1 import governor_service_pb2 as governor_pb2
from sluice.v1 import governor_service_pb2_grpc as governor_grpc

COLUMNS = ("member", "serves", "state", "busy", "memory", "hot", "cold", "in flight", "req/s", "obeys")
# Whose cells may have several lines.
FOLDED = {1, 2}
PLAIN_WIDTH = 140
FIRST_PICTURE_S = 5.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the command's arguments."""
    parser.add_argument("--governor", help="the governor's address (default: governor.listen of the configuration)")
    parser.add_argument("--once", action="store_true", help="print one picture and end")


async def run(options: argparse.Namespace) -> int:
    """Show the fleet until Ctrl-C. Returns 1 when the governor cannot be reached or goes away."""
    governor = options.governor or configured("governor", os.environ)  # noqa: TID251  a composition root
    trends = Trends()
    console = Console(width=None if sys.stdout.isatty() else PLAIN_WIDTH)
    try:
        if options.once:
            fleets = watch(governor)
            fleet = await asyncio.wait_for(anext(fleets), FIRST_PICTURE_S)
            trends.add(fleet)
            console.print(picture(fleet, trends))
            await fleets.aclose()
            return 0
        await _follow(governor, console, trends)
        why = "it ended the stream"
    except grpc.aio.AioRpcError as error:
        why = error.details() or error.code().name
    except TimeoutError:
        why = f"no answer within {FIRST_PICTURE_S:g} s"
    except asyncio.CancelledError:
        return 0
    print(f"the governor at {governor} cannot be reached: {why}", file=sys.stderr)
    print("Start a mesh with: sluice up", file=sys.stderr)
    return 1


async def _follow(governor: str, console: Console, trends: Trends) -> None:
    if not console.is_terminal:
        # One picture below the other. Writing each is also how a reader that has left is noticed.
        async for fleet in watch(governor):
            trends.add(fleet)
            console.print(picture(fleet, trends))
        return
    with Live(Text("waiting for the governor …"), console=console, auto_refresh=False, screen=True) as live:
        async for fleet in watch(governor):
            trends.add(fleet)
            live.update(picture(fleet, trends), refresh=True)


async def watch(governor: str) -> AsyncGenerator[Fleet, None]:
    """The fleet, whenever it changes and at least twice a second."""
    async with grpc.aio.insecure_channel(governor, options=proxy_options(governor)) as channel:
        stub = governor_grpc.GovernorServiceStub(channel)
        async for fleet, _ in snapshots(stub.WatchFleet(governor_pb2.WatchFleetRequest(interval=duration(0.5)))):
            yield fleet_from_proto(fleet)


def picture(fleet: Fleet, trends: Trends) -> Group:
    """One frame: the level in force, the signals, and a row for each member.

    `hot` and `cold` are what waits in a router.
    """
    directive = fleet.directive
    named = directive.degradation.named
    levels = ", ".join(f"{level.value} {named(level)}" for level in directive.levels) or "0 full service"
    head = Text.assemble(("level ", "dim"), (levels, "bold red" if directive.levels else "bold green"))
    number = len(fleet.members)
    head.append(f"   {directive.reason}   {number} member{'' if number == 1 else 's'}", style="dim")
    table = Table(box=None, pad_edge=False, header_style="bold")
    for place, column in enumerate(COLUMNS):
        table.add_column(column, justify="left" if place < 3 else "right", no_wrap=place not in FOLDED)
    for member in fleet.members:
        table.add_row(*map(Text, _row(member, fleet)))
    return Group(head, Text(), trends.table(), Text(), table)


def _row(member: Member, fleet: Fleet) -> tuple[str, ...]:
    obeys = "no" if member.disobeys else "yes" if member.applied == fleet.directive.version else "not yet"
    report = member.report
    if report is None:
        return (member.id, "", "joining", *[""] * 6, obeys)
    serves = "\n".join(f"{one.tier.label}: {one.model} {one.precision} {one.device}" for one in report.variants)
    return (
        member.id,
        serves,
        "\n".join(filter(None, ("draining" if report.draining else "up", report.swap_trouble))),
        _share(report.utilization),
        _share(report.memory),
        *_queues(member.kind, report),
        str(report.inflight),
        f"{report.requests_per_second:.0f}",
        obeys,
    )


def _queues(kind: MemberKind, report: Report) -> tuple[str, str]:
    # Only routers queue; a zero in a worker's row would say something that is not so.
    return (str(report.hot_queued), str(report.cold_queued)) if kind is MemberKind.ROUTER else ("", "")


def _share(value: float | None) -> str:
    return "" if value is None else f"{value:.0%}"
