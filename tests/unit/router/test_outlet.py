"""What a text's reader finds, whenever it comes."""

from __future__ import annotations

import asyncio
import random

import pytest

from services.router.requests.generation import TokenChunk, TokenStream
from sluice.domain.errors import Cancelled


async def test_all_that_came_meanwhile_is_one_portion() -> None:
    outlet = TokenStream()
    outlet.put("Once", 1)
    outlet.put("", 2)
    outlet.put(" upon", 3)
    assert await outlet.take() == TokenChunk("Once upon", 3)
    outlet.put(" a", 4)
    assert await outlet.take() == TokenChunk(" a", 4)


async def test_a_reader_waits_for_text_for_tokens_or_for_the_end() -> None:
    outlet = TokenStream()
    reading = asyncio.create_task(outlet.take())
    await asyncio.sleep(0)
    assert not reading.done()
    outlet.put("", 1)
    assert await reading == TokenChunk("", 1)
    error = Cancelled("gone")
    outlet.put("x", 2)
    outlet.end(error)
    assert await outlet.take() == TokenChunk("x", 2, error)


@pytest.mark.parametrize("seed", range(5))
async def test_nothing_is_lost_or_told_twice_however_slow_the_reader_is(seed: int) -> None:
    dice, outlet = random.Random(seed), TokenStream()
    words = [f"{number} " for number in range(500)]

    async def write() -> None:
        for at, word in enumerate(words, 1):
            outlet.put(word, at)
            if dice.random() < 0.5:
                await asyncio.sleep(0)
        outlet.end(Cancelled("over"))

    writing = asyncio.create_task(write())
    text, tokens, outcome = "", [0], None
    while outcome is None:
        portion = await outlet.take()
        text, outcome = text + portion.text, portion.outcome
        tokens.append(portion.tokens)
        for _ in range(dice.randrange(5)):
            await asyncio.sleep(0)
    await writing
    assert text == "".join(words)
    assert tokens == sorted(tokens)
    assert tokens[-1] == 500
