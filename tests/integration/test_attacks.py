"""A caller with manners is answered while another misuses HTTP/2, and the router's memory stays bounded."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import psutil
import pytest
import pytest_asyncio

from benchmarks.attacks.attacks import ATTACKS
from benchmarks.identity_mesh import identity_mesh
from sluice import AsyncClient
from sluice.cli.mesh import LocalMesh

SECONDS = 1.0
# Compose allows a router 1 GB.
RSS_BYTES = 500 * 2**20


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def mesh(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[LocalMesh]:
    async with identity_mesh(str(tmp_path_factory.mktemp("logs"))) as made:
        yield made


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("name", ATTACKS)
async def test_the_good_caller_is_answered_and_memory_is_bounded(mesh: LocalMesh, name: str) -> None:
    router = psutil.Process(mesh.processes["router"].pid)
    async with AsyncClient(mesh.router) as client:
        attacking = asyncio.create_task(ATTACKS[name](mesh.router, SECONDS))
        most = 0
        asked = 0
        while not attacking.done() or not asked:
            assert (await client.infer("good", timeout_s=20)).label
            most = max(most, router.memory_info().rss)
            asked += 1
            await asyncio.sleep(0.01)
        await attacking
        assert (await client.infer("good", timeout_s=20)).label
    assert most < RSS_BYTES
    assert mesh.processes["router"].exit_code is None
