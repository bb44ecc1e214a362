"""Callers in a process of their own: python -m benchmarks.writing.callers ADDRESS STREAMS FIRST SCALE.json

Keeps so many streams open, each followed by another as soon as it has ended, and prints one JSON object about those
that were begun in the first four fifths of the window. Streams are numbered from FIRST on: no number asks what another
asks, which would be remembered.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.writing.scale import Scale
from benchmarks.writing.vocabulary import words
from sluice.client import AsyncClient
from sluice.domain.errors import SluiceError

TIMEOUT_S = 120.0


@dataclass(slots=True)
class Tally:
    """What became of the streams of one process; tokens are those that came within the window."""

    first_s: list[float] = field(default_factory=list)
    tokens: int = 0
    messages: int = 0
    ended: int = 0
    lost: list[str] = field(default_factory=list)


async def call(address: str, streams: int, first: int, scale: Scale) -> Tally:
    """Keep `streams` open until the window is over."""
    tally = Tally()
    from_s = time.monotonic() + scale.warm_s
    until_s = from_s + scale.window_s
    async with AsyncClient(address, timeout_s=TIMEOUT_S) as client:
        tasks = [
            asyncio.create_task(_one_after_another(client, scale, tally, seed, from_s, until_s))
            for seed in range(first, first + streams)
        ]
        await asyncio.sleep(until_s - time.monotonic())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return tally


async def _one_after_another(
    client: AsyncClient, scale: Scale, tally: Tally, seed: int, from_s: float, until_s: float
) -> None:
    dice = random.Random(seed)
    vocabulary = words(500)
    # What is begun at once must not end at once.
    await asyncio.sleep(dice.uniform(0, scale.warm_s / 2))
    new_tokens = dice.randint(1, scale.new_tokens)
    while True:
        text = " ".join(dice.choices(vocabulary, k=dice.randint(*scale.prompt_tokens)))
        begun_at = time.monotonic()
        # Those begun last are given time to come.
        counts = from_s <= begun_at <= until_s - scale.window_s / 5
        seen, is_first = 0, True
        try:
            stream = client.generate(text, max_new_tokens=new_tokens)
            async for _ in stream:
                now = time.monotonic()
                if is_first and counts:
                    tally.first_s.append(now - begun_at)
                is_first = False
                if from_s <= now <= until_s:
                    tally.tokens += stream.tokens - seen
                    tally.messages += 1
                seen = stream.tokens
            tally.ended += counts
        except SluiceError as error:
            tally.lost.append(f"{error.reason}: {error.message}")
        finally:
            if is_first and counts:
                # It was not seen until the end, which is later than what is waited for.
                tally.first_s.append(time.monotonic() - begun_at)
        new_tokens = scale.new_tokens


def main(arguments: list[str]) -> None:
    """Call, and tell."""
    address, streams, first, file = arguments
    scale = Scale(**json.loads(Path(file).read_text(encoding="utf-8")))
    tally = asyncio.run(call(address, int(streams), int(first), scale))
    print(json.dumps({name: getattr(tally, name) for name in Tally.__dataclass_fields__}))


if __name__ == "__main__":
    main(sys.argv[1:])
