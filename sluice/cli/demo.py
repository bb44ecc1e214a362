"""`sluice demo`: a mesh from start to stop on the example requests, with a report of what answered them."""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
import time
from pathlib import Path

from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from sluice.cli import arguments
from sluice.cli.demo_report import Record, busy_note, problems, summary, table
from sluice.cli.demo_requests import Example, read_examples
from sluice.cli.generate import summary as generation_summary
from sluice.cli.mesh import START_ORDER, LocalMesh
from sluice.cli.process import ServiceFailed
from sluice.client.aio import AsyncClient
from sluice.domain.errors import InvalidRequest, SluiceError
from sluice.runtime.config import read_file

# The demo's last part: a text that is written while one looks on, if the mesh serves a model that writes.


PROMPT = "I never got my parcel, and now I want my money back."
MAX_NEW_TOKENS = 160


async def write_one(router: str, console: Console) -> str:
    """Have one text written, piece by piece; returns what was wrong with it, or an empty string."""
    async with AsyncClient(router, timeout_s=30) as client:
        stream = client.generate(PROMPT, max_new_tokens=MAX_NEW_TOKENS)
        begun_at = time.monotonic()
        first_s = None
        try:
            async for piece in stream:
                if first_s is None:
                    first_s = time.monotonic() - begun_at
                    console.print(f"\n> {PROMPT}", style="bold", markup=False)
                console.print(piece, end="", markup=False, soft_wrap=True)
        except InvalidRequest:
            # Another configuration than the demo's own serves none that writes.
            return ""
        except SluiceError as error:
            return f"the text was not written to its end: {error.message}"
    if first_s is None:
        return "the text is empty"
    console.print(
        f"\n{generation_summary(stream.result, took_s=time.monotonic() - begun_at, first_s=first_s)}\n", style="dim"
    )
    return ""


MAX_OPEN = 16
# Wide enough for whole trace ids where nobody looks on, such as in a file.
PLAIN_WIDTH = 170
INTERRUPTED = 130


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the command's arguments."""
    default = Path("examples/requests.jsonl")
    parser.add_argument("--requests", type=Path, default=default, help="JSON lines to send (default: %(default)s)")
    parser.add_argument(
        "--max-open", type=arguments.count, default=MAX_OPEN, help="requests at a time (default: %(default)s)"
    )


async def run(options: argparse.Namespace) -> int:
    """Returns 0 if all requests were answered, 90 % of them rightly, every tier was used, and a text was written.

    Told to end, by SIGTERM or Ctrl-C, it stops every service and returns 130.
    """
    demo = asyncio.get_running_loop().create_task(_run(options))
    # Not by way of SIGINT, which is ignored where a script started us with `&`.
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, demo.cancel)
    try:
        return await demo
    except asyncio.CancelledError:
        # By Ctrl-C it is we who are cancelled, and the task that we await with us.
        return INTERRUPTED


async def _run(options: argparse.Namespace) -> int:
    console = Console(width=None if sys.stdout.isatty() else PLAIN_WIDTH, highlight=False)
    progress_console = Console(stderr=True, soft_wrap=True)
    examples = read_examples(options.requests)
    environ = dict(os.environ)  # noqa: TID251  handed on to the services
    # The requests are traced from here, so that each row of the table has an id to look up in Jaeger.
    trace.set_tracer_provider(TracerProvider(shutdown_on_exit=False))
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=progress_console) as progress:
        starting = progress.add_task("starting", total=len(START_ORDER))

        def on_event(service: str, event: str) -> None:
            if event == "ready":
                progress.advance(starting)
                progress.update(starting, description=f"{service} is ready")

        mesh = LocalMesh(read_file(environ), environ=environ, free_ports=True, on_event=on_event)
        try:
            async with mesh:
                progress.update(starting, description="the mesh is up")
                records, took_s = await _send(mesh.router, examples, options.max_open, progress)
                progress.stop()
                records.sort(key=lambda record: record.place)
                console.print(table(records, width=console.width))
                console.print(summary(records, took_s=took_s))
                trouble = await write_one(mesh.router, console)
        except ServiceFailed as error:
            progress_console.print(str(error), style="red", markup=False, highlight=False)
            return 1
    return judge(console, examples, records, trouble=trouble)


def judge(console: Console, examples: list[Example], records: list[Record], *, trouble: str) -> int:
    """Print what is wrong; returns the exit status. `trouble` is what was wrong with the text that was written."""
    found = [*problems(examples, records), *filter(None, [trouble])]
    for problem in found:
        console.print(f"[red]{problem}[/]")
    note = busy_note(records, load=os.getloadavg()[0], cores=os.cpu_count() or 1)
    if note:
        console.print(note, soft_wrap=True)
    if not found:
        console.print("[green]Every request was answered, and every tier was used.[/] Next: sluice up")
    return 1 if found else 0


async def _send(router: str, examples: list[Example], max_open: int, progress: Progress) -> tuple[list[Record], float]:
    """What came of every request, and the seconds that all of them took together."""
    sending = progress.add_task("sending", total=len(examples))
    records: list[Record] = []
    began = time.monotonic()
    async with AsyncClient(router) as client:
        async for place, outcome in client.infer_many((one.query for one in examples), max_open=max_open):
            records.append(Record(example=examples[place], place=place, outcome=outcome))
            progress.advance(sending)
    return records, time.monotonic() - began
