"""`sluice up`: run a whole mesh on this machine until Ctrl-C."""

from __future__ import annotations

import argparse
import asyncio
import os
from collections.abc import Callable, Mapping
from pathlib import Path

from rich.console import Console
from rich.text import Text

from sluice.cli.mesh import DEFAULT_LISTEN, START_ORDER, LocalMesh
from sluice.cli.process import ServiceFailed
from sluice.cli.supervisor import Supervisor
from sluice.runtime.config import FILE_VARIABLE, read_file
from sluice.transport.server import until_signalled

# Nobody presses Ctrl-C twice so soon.
SAME_STOP_S = 0.3


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the command's arguments."""
    parser.add_argument("--config", type=Path, help="configuration file (default: sluice.yaml here, or SLUICE_CONFIG)")
    parser.add_argument(
        "--only", nargs="+", choices=START_ORDER, metavar="SERVICE", help=f"only these of {', '.join(START_ORDER)}"
    )
    parser.add_argument("--logs", type=Path, default=Path(".sluice/logs"), help="directory for the services' logs")


async def run(options: argparse.Namespace) -> int:
    """Start the services, say where they are, keep them running, and stop them in order at Ctrl-C or SIGTERM.

    Returns 0 when it was told to stop, 130 if that came while it started, and 1 when a service failed at its start or
    the mesh cannot serve without what was given up.
    """
    console = Console(stderr=True, soft_wrap=True, highlight=False)

    def say(service: str, event: str) -> None:
        # What ended or waits may quote a log.
        console.print(Text.assemble((f"{service:<11} ", "dim"), event))

    environ = dict(os.environ)  # noqa: TID251  handed on to the services
    if options.config:
        environ[FILE_VARIABLE] = str(options.config.resolve())
    mesh = LocalMesh(
        read_file(environ),
        environ=environ,
        services=options.only or START_ORDER,
        log_directory=options.logs,
        on_event=say,
    )
    stop = asyncio.create_task(until_signalled(same_stop_s=SAME_STOP_S))
    try:
        if not await _start(mesh, stop):
            return 130
        console.print(_ready_lines(mesh.addresses))
        lost = await _supervise(mesh, stop, say)
    except ServiceFailed as error:
        console.print(str(error), style="red", markup=False)
        return 1
    finally:
        # A second Ctrl-C while they drain is passed on.
        hurry = stop.result() if stop.done() else None
        stop.cancel()
        await mesh.stop(hurry=hurry)
    if lost:
        console.print(f"[red]The mesh could not serve without {', '.join(sorted(lost))}.[/]")
    return 1 if lost else 0


async def _start(mesh: LocalMesh, stop: asyncio.Task[asyncio.Event]) -> bool:
    """Start all services; returns whether they are up before it was told to stop. Raises ServiceFailed."""
    starting = asyncio.create_task(mesh.__aenter__())
    await asyncio.wait({stop, starting}, return_when=asyncio.FIRST_COMPLETED)
    if not starting.done():
        starting.cancel()
        await asyncio.gather(starting, return_exceptions=True)
        return False
    starting.result()
    return True


async def _supervise(mesh: LocalMesh, stop: asyncio.Task[asyncio.Event], say: Callable[[str, str], None]) -> set[str]:
    """Keep the services running until told to stop; returns those without which the mesh could not serve."""
    supervisor = Supervisor(mesh, on_event=say)
    supervising = asyncio.create_task(supervisor.run())
    try:
        await asyncio.wait({stop, supervising}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        # Before anything is stopped, so that nothing is started again.
        supervising.cancel()
        await asyncio.gather(supervising, return_exceptions=True)
    if stop.done():
        return set()
    supervising.result()
    return supervisor.given_up


def _ready_lines(addresses: Mapping[str, str]) -> str:
    """That the mesh is up, and the commands that reach it."""
    lines = ["", "[bold]The mesh is up.[/] In another terminal:"]
    for service, command in (("router", 'sluice infer "where is my parcel?"'), ("governor", "sluice top")):
        if service in addresses:
            elsewhere = addresses[service] != DEFAULT_LISTEN[service]
            lines.append(f"  {command}" + (f" --{service} {addresses[service]}" if elsewhere else ""))
    return "\n".join([*lines, "Ctrl-C stops it."])
