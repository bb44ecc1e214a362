"""A program that runs while a block does, and is gone behind it."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path

STOP_TIMEOUT_S = 15.0


@asynccontextmanager
async def child(
    command: Sequence[str | Path],
    *,
    environ: Mapping[str, str] | None = None,
    log: Path | None = None,
    folder: Path | None = None,
) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run `command` in `folder` with `environ`, its output in `log`; what is None is as it is for us.

    It is asked to end when the block does, and killed when it does not.
    """
    with ExitStack() as opened:
        said = None
        if log is not None:
            log.parent.mkdir(parents=True, exist_ok=True)
            said = opened.enter_context(log.open("ab"))
        process = await asyncio.create_subprocess_exec(
            *command, stdin=subprocess.DEVNULL, stdout=said, stderr=said, env=environ, cwd=folder
        )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.terminate()
            try:
                await asyncio.wait_for(process.wait(), STOP_TIMEOUT_S)
            except TimeoutError:
                process.kill()
                await process.wait()
