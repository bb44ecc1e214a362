"""One model's queue and one caller's flood, on a live mesh: nobody else is refused for them.

The mesh is real processes at a known pace (`paced_worker`), and each caller has an address of its own.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.integration.paced_mesh import CHAT, CLASSIFIER, Caller, paced_mesh

FLOOD, POLITE = "127.0.0.2", "127.0.0.3"
SECONDS = 3.0


def told(*callers: Caller) -> str:
    """What became of everybody, for a failed assertion."""
    return "; ".join(str(dict(one.outcomes)) for one in callers)


async def test_a_frozen_accelerator_with_generations_waiting_shuts_no_classification_out(tmp_path: Path) -> None:
    async with paced_mesh(tmp_path, accelerator=(CLASSIFIER, CHAT), cpu=(CLASSIFIER,)) as mesh:
        writers, asker = await mesh.caller(FLOOD), await mesh.caller(POLITE)
        await asker.classify(20, 1.0)
        writers.generate(80)
        await asyncio.sleep(1.0)
        mesh.processes["gpu_worker"].signal(signal.SIGSTOP)
        asker.outcomes.clear()
        await asker.classify(20, 2 * SECONDS)
        assert asker.share >= 0.98, told(asker, writers)


async def test_two_hundred_generations_of_one_caller_shut_no_classification_out(tmp_path: Path) -> None:
    async with paced_mesh(tmp_path, accelerator=(CLASSIFIER, CHAT)) as mesh:
        writer, asker = await mesh.caller(FLOOD), await mesh.caller(POLITE)
        await asker.classify(20, 1.0)
        writer.generate(200)
        asker.outcomes.clear()
        await asker.classify(30, 2 * SECONDS)
        assert asker.share >= 0.98, told(asker, writer)


@pytest.mark.parametrize(
    ("connections", "conversation"),
    [(1, lambda _: ""), (1, lambda number: f"conversation {number}"), (20, lambda _: "")],
    ids=["plain", "changing conversations", "many connections"],
)
async def test_a_flood_does_not_starve_a_polite_caller_of_the_same_priority(
    tmp_path: Path, connections: int, conversation: Callable[[int], str]
) -> None:
    async with paced_mesh(tmp_path, cpu=(CLASSIFIER,)) as mesh:
        flood, polite = await mesh.caller(FLOOD, connections=connections), await mesh.caller(POLITE)
        await polite.classify(5, 1.0)
        polite.outcomes.clear()
        async with asyncio.TaskGroup() as group:
            group.create_task(flood.classify(250, 6.0, conversation=conversation))
            group.create_task(polite.classify(10, 6.0))
        assert polite.share >= 0.95, told(polite, flood)


async def test_a_caller_who_always_gives_up_makes_no_worker_look_slow_to_others(tmp_path: Path) -> None:
    async with paced_mesh(tmp_path, cpu=(CLASSIFIER,)) as mesh:
        fickle, polite = await mesh.caller(FLOOD), await mesh.caller(POLITE)
        await polite.classify(5, 1.0)
        polite.outcomes.clear()
        async with asyncio.TaskGroup() as group:
            group.create_task(fickle.give_up(100, 5.0))
            group.create_task(polite.classify(10, 5.0))
        assert polite.share >= 0.95, told(polite)
