"""A precision that is ordered over real processes: obeyed under traffic, undone, refused aloud, and never noticed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from sluice.domain.enums import Level, Precision
from tests.integration.asked_mesh import MODEL, PATIENCE_S, Mesh, asked_mesh
from tests.unit.engine.tiny import write
from tests.unit.polling import until

pytestmark = [
    pytest.mark.torch,
    pytest.mark.skipif(find_spec("torchao") is None, reason="the precision extra is not installed"),
    pytest.mark.timeout(300),
]
FULL, MIXED, FP8 = (f"{MODEL}/full-{name}" for name in ("fp32", "mixed", "fp8"))
SERVED_FIRST = "full by gpu_worker"


@pytest.fixture
async def mesh(tmp_path: Path) -> AsyncIterator[Mesh]:
    """A mesh whose full model is fp32, as it is on a CPU, and leaves its precision to whoever orders one."""
    async with asked_mesh(tmp_path) as made:
        yield made


async def test_a_worker_under_traffic_follows_orders_of_precision_and_no_request_fails(mesh: Mesh) -> None:
    await mesh.comes_to(FULL)
    for precision, variant in ((Precision.FP8, FP8), (Precision.MIXED, MIXED)):
        await mesh.degrade(Level.LIGHTEN, precision=precision)
        await mesh.comes_to(variant)
        await until(lambda: mesh.precisions[precision.held] > 2, PATIENCE_S)  # noqa: B023  waited for at once
    await mesh.degrade()
    await mesh.comes_to(FULL)
    before = mesh.precisions["fp32"]
    await until(lambda: mesh.precisions["fp32"] > before, PATIENCE_S)
    # Said faster than it can be done.
    for _ in range(4):
        await mesh.degrade(Level.LIGHTEN, precision=Precision.FP8)
        await asyncio.sleep(0.2)
        await mesh.degrade(Level.LIGHTEN, precision=Precision.MIXED)
        await asyncio.sleep(0.2)
    await mesh.comes_to(MIXED)
    await mesh.degrade()
    await mesh.comes_to(FULL)
    assert all(name.startswith(("full by", "light by")) for name in mesh.outcomes), mesh.outcomes
    assert mesh.outcomes[SERVED_FIRST] > 0


async def test_an_order_that_cannot_be_obeyed_is_told_by_the_fleet_and_changes_nothing(tmp_path: Path) -> None:
    # No row of this little model is long enough for int4.
    write(tmp_path / f"{MODEL}-full", "mobilebert")
    async with asked_mesh(tmp_path, root=tmp_path) as mesh:
        await mesh.comes_to(FULL)
        await mesh.degrade(Level.LIGHTEN, precision=Precision.INT4)
        report = await mesh.complaint()
        assert report.swap_trouble == f"load int4 of {MODEL}: no layer of {MODEL}-full can be held in int4"
        assert [one.id for one in report.variants] == [FULL]
        assert all(name.startswith(("full by", "light by")) for name in mesh.outcomes), mesh.outcomes


async def test_the_missions_variable_sets_the_mode_which_an_order_may_raise_too(tmp_path: Path) -> None:
    async with asked_mesh(tmp_path, environ={"PRECISION_MODE": "mixed"}) as mesh:
        await mesh.comes_to(MIXED)
        await mesh.degrade(Level.LIGHTEN, precision=Precision.FULL)
        await mesh.comes_to(FULL)
        await until(lambda: mesh.precisions["fp32"] > 2, PATIENCE_S)
        await mesh.degrade()
        await mesh.comes_to(MIXED)
        assert all(name.startswith(("full by", "light by")) for name in mesh.outcomes), mesh.outcomes
