"""`sluice up`: run a whole mesh on this machine until Ctrl-C."""

from __future__ import annotations

import argparse
import asyncio
import os
from pathlib import Path

from rich.console import Console

from sluice.cli.mesh import START_ORDER, LocalMesh
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
    """Start the services, say where they are, and stop them in order at Ctrl-C or SIGTERM."""
    console = Console(stderr=True)
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
        console.print("\n[bold]The mesh is up.[/] In another terminal:")
        console.print('  sluice infer "where is my parcel?"\n  sluice top\nCtrl-C stops it.')
        return await _watch(mesh, stop, console)
    except ServiceFailed as error:
        console.print(f"[red]{error}[/]", highlight=False)
        return 1
    finally:
        stop.cancel()
        await mesh.stop()


async def _watch(mesh: LocalMesh, stop: asyncio.Task[None], console: Console) -> int:
    while not stop.done():
        for process in mesh.processes.values():
            if process.exit_code is not None:
                console.print(f"[red]{process.name} ended with status {process.exit_code}[/]; its log ends:")
                console.print(process.last_lines(), highlight=False)
                return 1
        await asyncio.wait({stop}, timeout=10 * POLL_S)
    return 0
