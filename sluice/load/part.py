"""One process of a run, as the one who started it sees it: told by its standard input, heard by its output."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Mapping
from contextlib import suppress
from typing import IO, Any

from sluice.runtime.program import PARENT_VARIABLE

LONGEST_LINE_BYTES = 1 << 24


class LoadFailed(Exception):
    """The run could not be played. The message says why."""


class Part:
    """A process that plays one part of a run. What it says on standard error goes to `errors`, which parts share."""

    def __init__(self, process: Process, errors: IO[bytes]) -> None:
        self._process = process
        self._errors = errors

    @classmethod
    async def start(cls, errors: IO[bytes]) -> Part:
        """A fresh process that waits for its order. It is not forked from this one, and ends with it."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "sluice.load.process"),
            stdin=PIPE,
            stdout=PIPE,
            stderr=errors,
            env={**os.environ, PARENT_VARIABLE: str(os.getpid())},  # noqa: TID251  handed on
            limit=LONGEST_LINE_BYTES,
            start_new_session=True,
        )
        return cls(process, errors)

    def tell(self, values: Mapping[str, Any]) -> None:
        """Send one line."""
        if self._process.stdin is not None:
            self._process.stdin.write(json.dumps(values).encode() + b"\n")

    async def hear(self) -> dict[str, Any]:
        """The next line. Raises LoadFailed when there is none, because the process has ended."""
        line = await self._process.stdout.readline() if self._process.stdout is not None else b""
        if not line:
            status = await self._process.wait()
            self._errors.seek(0)
            said = self._errors.read().decode(errors="replace").strip()
            raise LoadFailed(f"a process ended with status {status}: {said or 'it said nothing'}")
        values: dict[str, Any] = json.loads(line)
        return values

    async def end(self) -> None:
        """Kill it if it still runs."""
        if self._process.returncode is None:
            with suppress(ProcessLookupError):
                self._process.kill()
        await self._process.wait()
