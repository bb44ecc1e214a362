"""What every program's `__main__` does: read the configuration, set up logs and traces, run, and say why not."""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Mapping
from types import FrameType
from typing import NoReturn

from pydantic.fields import FieldInfo

from sluice.runtime import logging as logs
from sluice.runtime.broken_pipe import run_with_pipes
from sluice.runtime.config import (
    FILE_VARIABLE,
    ConfigError,
    Section,
    SectionType,
    TelemetryConfig,
    load,
    read_file,
    second_variable,
    variable_of,
)
from sluice.runtime.tracing import Tracing

# A program's manual, made from its settings: what `--help` prints and what docs/operations.md holds as tables.


def help_text(name: str, kind: type[Section]) -> str:
    """What `python -m services.NAME --help` prints: each key with its variable, default and meaning."""
    lines = [
        f"usage: python -m services.{name}",
        "",
        f"Runs until SIGTERM, then drains. Its settings come from the file that {FILE_VARIABLE} names (sluice.yaml",
        "without it), and each can be overridden by the environment, its value written as YAML.",
    ]
    for section, model in ((name, kind), ("telemetry", TelemetryConfig)):
        lines += ["", f"{section}:"]
        for key, field in model.model_fields.items():
            variables = " or ".join(filter(None, (variable_of(section, key), second_variable(field))))
            lines += [f"  {key}  (default: {_default(field)}; {variables})"]
            lines += [f"      {_meaning(field)}"]
    return "\n".join(lines)


def markdown_table(name: str, kind: type[Section]) -> str:
    """The same as a table of Markdown, under a heading of the third level."""
    fields = kind.model_fields.items()
    rows = "\n".join(f"| `{key}` | `{_default(field)}` | {_meaning(field)} |" for key, field in fields)
    heading = name if " " in name else f"`{name}`"
    return f"### {heading}\n\n| key | default | meaning |\n|---|---|---|\n{rows}"


def _default(field: FieldInfo) -> str:
    value = field.get_default(call_default_factory=True)
    if field.is_required():
        return "required"
    if isinstance(value, Section):
        return "its own defaults"
    return {"": '""', "()": "[]"}.get(str(value), str(value))


def _meaning(field: FieldInfo) -> str:
    second = second_variable(field)
    told = f"{field.description or ''} Variable {second} sets it too." if second else field.description or ""
    return " ".join(told.split())


# A service that was started by another program ends with it, even when that program is killed outright.


PARENT_VARIABLE = "SLUICE_PARENT_PID"
_PR_SET_PDEATHSIG = 1


def end_with_parent(environ: Mapping[str, str]) -> None:
    """If `environ` names a parent, be sent SIGTERM when it dies. Linux only; elsewhere nothing happens.

    Done by the child itself: work between fork and exec is not safe in a parent that has gRPC channels.
    """
    parent = environ.get(PARENT_VARIABLE, "")
    if not parent or sys.platform != "linux":
        return
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != int(parent):
        # It died before we asked.
        os.kill(os.getpid(), signal.SIGTERM)


class FatalError(Exception):
    """The program has lost what it cannot do without, and may find it again when it is started anew."""


Run = Callable[[SectionType, Tracing], Awaitable[None]]


def main(name: str, kind: type[SectionType], run: Run[SectionType]) -> int:
    """Run program `name` with its section of the configuration until it ends; returns the exit status.

    A wrong setting ends it with status 2 and one line on standard error that names the key, and FatalError with status
    1 and its line, so that whoever keeps it running starts it again. The only argument that it takes is `--help`.
    """
    arguments = sys.argv[1:]
    if arguments:
        is_question = arguments[0] in {"-h", "--help"}
        refusal = "" if is_question else f"sluice {name}: takes no arguments but --help (got {' '.join(arguments)})"
        return run_with_pipes(lambda: _print_help(help_text(name, kind), refusal=refusal))
    environ = os.environ  # noqa: TID251  the one reading of the environment in a service
    end_with_parent(environ)
    try:
        file = read_file(environ)
        telemetry = load("telemetry", TelemetryConfig, file=file, environ=environ)
        config: Section = load(name, kind, file=file, environ=environ)
        logs.configure(name, telemetry.log_level)
        # Until the loop takes the signal over, a container's first process would not even notice it.
        signal.signal(signal.SIGTERM, _stop_at_once)
        tracing = Tracing(service=name, config=telemetry)
        try:
            _run_loop(run(config, tracing))  # type: ignore[arg-type]
        finally:
            tracing.close()
    except ConfigError as error:
        print(f"sluice {name}: {error}", file=sys.stderr)
        return 2
    except FatalError as error:
        print(f"sluice {name}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def _print_help(text: str, *, refusal: str) -> int:
    if not refusal:
        print(text)
        return 0
    print(f"{text}\n{refusal}", file=sys.stderr)
    return 2


def _stop_at_once(number: int, frame: FrameType | None) -> NoReturn:
    del number, frame
    sys.exit(0)


async def _await(work: Awaitable[None]) -> None:
    await work


def _run_loop(work: Awaitable[None]) -> None:
    try:
        import uvloop
    except ImportError:
        asyncio.run(_await(work))
        return
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_await(work))
