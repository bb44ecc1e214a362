"""A worker process that is stopped as by SIGSTOP: its connection stands, and only its silence gives it away."""

from __future__ import annotations

import signal
from typing import Any

import pytest

from sluice import AsyncClient, Query
from sluice.cli.mesh import LocalMesh
from sluice.client.answer import Answer
from sluice.domain.enums import QueryClass, Tier


async def answers(client: AsyncClient, count: int) -> list[Answer]:
    # Hot, so that nothing but the worker's trouble decides what becomes of them on a busy machine.
    asked: dict[str, Any] = {"query_class": QueryClass.COMPLEX, "priority": 0.9, "timeout_s": 20.0}
    queries = [Query(text=f"text {number}", **asked) for number in range(count)]
    outcomes = [outcome async for _, outcome in client.infer_many(queries, max_open=32)]
    failed = [outcome for outcome in outcomes if not isinstance(outcome, Answer)]
    assert not failed, failed
    return [outcome for outcome in outcomes if isinstance(outcome, Answer)]


@pytest.mark.timeout(240)
async def test_a_stopped_worker_swallows_nothing_and_is_used_again_when_it_goes_on(identity_mesh: LocalMesh) -> None:
    worker = identity_mesh.processes["gpu_worker"]
    async with AsyncClient(identity_mesh.router) as client:
        assert {one.tier for one in await answers(client, 100)} == {Tier.FULL}
        worker.signal(signal.SIGSTOP)
        try:
            meanwhile = await answers(client, 200)
        finally:
            worker.signal(signal.SIGCONT)
        assert {(one.tier, one.degraded_from) for one in meanwhile} == {(Tier.LIGHT, Tier.FULL)}
        for _ in range(200):
            if Tier.FULL in {one.tier for one in await answers(client, 10)}:
                break
        else:
            raise AssertionError("the worker is not used again")
