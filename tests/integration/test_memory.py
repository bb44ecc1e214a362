"""Bursts of calls with very large fields, again and again, leave a router as small as ordinary calls do."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from benchmarks.attacks.large_requests import BURSTS
from benchmarks.identity_mesh import identity_mesh
from benchmarks.memory import MIB, Watched, attacker
from services.router.config import RouterConfig
from sluice.cli.mesh import LocalMesh
from tests.unit.polling import until

# So much of each burst, and so often.
SHARE, ROUNDS = 0.1, 3
# What arrives is held as the transport has it, as bytes, as a message and as text, but not all of it at one time.
PEAK_FACTOR = 2
# What may be left soon after. `make bench-memory` looks after a minute, and for a tenth.
LEFT_FACTOR = 1.25
# The router looks every five seconds.
GIVEN_BACK_S = 15.0


@pytest.fixture
def mesh(tmp_path: Path) -> LocalMesh:
    return identity_mesh(str(tmp_path))


async def play(mesh: LocalMesh, name: str, share: float = SHARE) -> None:
    """Play one attack to its end."""
    async with attacker(mesh.router, name, "--share", str(share), "--hang-up") as ends:
        assert sum(ends.values()) > 0


async def test_bursts_of_large_calls_leave_nothing_and_their_peak_is_bounded(mesh: LocalMesh) -> None:
    async with mesh:
        await play(mesh, "ordinary", 0.3)
        router = Watched(mesh.processes["router"].pid)
        before = router.now()
        watching = asyncio.create_task(router.watch())
        for _ in range(ROUNDS):
            for name in BURSTS:
                await play(mesh, name)
        await until(lambda: router.now() < before * LEFT_FACTOR, limit_s=GIVEN_BACK_S)
        watching.cancel()
        assert router.peak < before + PEAK_FACTOR * RouterConfig().max_open_bytes / MIB
