"""The demo's last part: a text that is written while one looks on, if the mesh serves a model that writes."""

from __future__ import annotations

import time

from rich.console import Console

from sluice.cli.generate import summary
from sluice.client.aio import AsyncClient
from sluice.domain.errors import InvalidRequest, SluiceError

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
    console.print(f"\n{summary(stream.result, took_s=time.monotonic() - begun_at, first_s=first_s)}\n", style="dim")
    return ""
