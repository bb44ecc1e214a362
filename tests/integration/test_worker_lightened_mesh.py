"""Level 2 over real processes, from an operator's word to what a worker holds: obeyed, undone, and after a kill too."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from sluice.domain.enums import Level, Tier
from tests.integration.asked_mesh import MODEL, PATIENCE_S, Mesh, asked_mesh
from tests.unit.polling import until

pytestmark = [
    pytest.mark.torch,
    pytest.mark.skipif(find_spec("torch") is None, reason="the worker extra is not installed"),
    pytest.mark.timeout(300),
]
FULL, LIGHT = f"{MODEL}/full-fp32", f"{MODEL}/light-fp32"


@pytest.fixture
async def mesh(tmp_path: Path) -> AsyncIterator[Mesh]:
    """A mesh whose full model has a distilled copy."""
    async with asked_mesh(tmp_path, distilled=f"{MODEL}-light") as made:
        yield made


async def test_a_worker_is_lightened_killed_in_the_middle_started_again_brought_back_and_confused(mesh: Mesh) -> None:
    worker = mesh.local.processes["gpu_worker"]
    await mesh.comes_to(FULL)
    await mesh.degrade(Level.LIGHTEN)
    await mesh.logs('"load light"')
    worker.signal(signal.SIGKILL)
    assert await worker.ended(10)
    # Where it was in the swap is not remembered, and need not be: it starts as configured, and obeys.
    mesh.local.start("gpu_worker")
    await worker.ready(PATIENCE_S)
    await mesh.comes_to(LIGHT)
    await mesh.degrade()
    await mesh.comes_to(FULL)
    before = mesh.outcomes["full by gpu_worker"]
    await until(lambda: mesh.outcomes["full by gpu_worker"] > before, PATIENCE_S)
    # Said faster than it can be done.
    for _ in range(6):
        await mesh.degrade(Level.LIGHTEN)
        await asyncio.sleep(0.15)
        await mesh.degrade()
        await asyncio.sleep(0.15)
    await mesh.degrade(Level.LIGHTEN)
    await mesh.comes_to(LIGHT)
    await mesh.degrade()
    await mesh.comes_to(FULL)
    assert {name.partition(" by ")[0] for name in mesh.outcomes} == {Tier.FULL.label, Tier.LIGHT.label}, mesh.outcomes
