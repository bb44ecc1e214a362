"""`sluice up`: run a whole mesh on this machine until Ctrl-C."""

from __future__ import annotations

import argparse
import asyncio
import os
from collections.abc import Mapping
from pathlib import Path

from rich.console import Console

from sluice.cli.mesh import DEFAULT_LISTEN, START_ORDER, LocalMesh
from sluice.cli.process import POLL_S, ServiceFailed
from sluice.config import FILE_VARIABLE, read_file
from sluice.server import until_signalled


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the command's arguments."""
    parser.add_argument("--config", type=Path, help="configuration file (default: sluice.yaml here, or SLUICE_CONFIG)")
    parser.add_argument(
        "--only", nargs="+", choices=START_ORDER, metavar="SERVICE", help=f"only these of {', '.join(START_ORDER)}"
    )
    parser.add_argument("--logs", type=Path, default=Path(".sluice/logs"), help="directory for the services' logs")


async def run(options: argparse.Namespace) -> int:
    """Start the services, say where they are, and stop them in order at Ctrl-C or SIGTERM.

    Returns 0 when it was told to stop, 130 if that came while it started, and 1 when a service failed.
    """
    console = Console(stderr=True, soft_wrap=True, highlight=False)
    environ = dict(os.environ)  # noqa: TID251  handed on to the services
    if options.config:
        environ[FILE_VARIABLE] = str(options.config.resolve())
    mesh = LocalMesh(
        read_file(environ),
        environ=environ,
        services=options.only or START_ORDER,
        log_directory=options.logs,
        on_event=lambda service, event: console.print(f"[dim]{service:<11}[/] {event}"),
    )
    stop = asyncio.create_task(until_signalled())
    starting = asyncio.create_task(mesh.__aenter__())
    try:
        await asyncio.wait({stop, starting}, return_when=asyncio.FIRST_COMPLETED)
        if not starting.done():
            starting.cancel()
            await asyncio.gather(starting, return_exceptions=True)
            return 130
        starting.result()
        console.print(_ready_lines(mesh.addresses))
        return await _watch(mesh, stop, console)
    except ServiceFailed as error:
        console.print(str(error), style="red", markup=False)
        return 1
    finally:
        stop.cancel()
        await mesh.stop()


def _ready_lines(addresses: Mapping[str, str]) -> str:
    """That the mesh is up, and the commands that reach it."""
    lines = ["", "[bold]The mesh is up.[/] In another terminal:"]
    for service, command in (("router", 'sluice infer "where is my parcel?"'), ("governor", "sluice top")):
        if service in addresses:
            elsewhere = addresses[service] != DEFAULT_LISTEN[service]
            lines.append(f"  {command}" + (f" --{service} {addresses[service]}" if elsewhere else ""))
    return "\n".join([*lines, "Ctrl-C stops it."])


async def _watch(mesh: LocalMesh, stop: asyncio.Task[None], console: Console) -> int:
    while not stop.done():
        for process in mesh.processes.values():
            if process.exit_code is not None:
                console.print(f"[red]{process.name} ended with status {process.exit_code}[/]; its log ends:")
                console.print(process.last_lines(), markup=False)
                return 1
        await asyncio.wait({stop}, timeout=10 * POLL_S)
    return 0
