"""The load generator against a mesh of real processes: what is offered is accounted for, whatever the face."""

from __future__ import annotations

import asyncio
from typing import Any, Literal

import psutil
import pytest

from sluice.cli.addresses import free_port
from sluice.cli.mesh import LocalMesh
from sluice.load.kind import POOLS, Kind
from sluice.load.part import LoadFailed
from sluice.load.plan import Plan
from sluice.load.result import result
from sluice.load.run import play
from sluice.load.text import Text
from tests.unit.polling import until

TEXTS = tuple(Text(text=f"where is parcel {number}?", label="identity") for number in range(5))


def plan(router: str, **changes: Any) -> Plan:
    """100 requests a second for a second, with time enough for a busy machine."""
    values = {"router": router, "rate": ((0.0, 100.0),), "duration_s": 1.0, "texts": TEXTS, "deadline_s": 20.0}
    return Plan.model_validate(values | changes)


def children() -> list[psutil.Process]:
    """Processes of runs that this one has started."""
    found = []
    for process in psutil.Process().children(recursive=True):
        try:
            if "sluice.load.process" in process.cmdline():
                found.append(process)
        except psutil.NoSuchProcess:
            continue
    return found


@pytest.mark.parametrize("face", ["stream", "unary"])
async def test_every_request_is_answered_and_counted_once(
    identity_mesh: LocalMesh, face: Literal["stream", "unary"]
) -> None:
    one = plan(identity_mesh.router, face=face, processes=2, connections=2)
    results = result(await play(one, governor=identity_mesh.addresses["governor"]))
    totals = results["totals"]["all"]
    assert 50 < totals["offered"] < 200
    assert totals["ok"] == totals["offered"] == results["statuses"]["OK"]
    assert sum(results["tiers"].values()) == sum(results["levels"].values()) == totals["ok"]
    assert results["accuracy"] == 1.0
    assert sum(row[pool]["kept"] for row in results["windows"] for pool in POOLS) == totals["ok"]
    assert results["fleet"]
    assert {row["members"] for row in results["fleet"] if "members" in row} == {3}
    assert children() == []


async def test_conversations_run_to_their_ends(identity_mesh: LocalMesh) -> None:
    results = result(await play(plan(identity_mesh.router, turns=(3, 3), think_s=0.01, duration_s=2.0)))
    counts = results["conversations"]
    assert sum(counts[pool]["lost"] for pool in POOLS) == 0
    assert sum(counts[pool]["finished"] for pool in POOLS) > 0
    for pool in POOLS:
        assert counts[pool]["begun"] == counts[pool]["finished"] + counts[pool]["unfinished"]


async def test_what_the_mesh_refuses_is_counted_by_its_reason(identity_mesh: LocalMesh) -> None:
    results = result(await play(plan(identity_mesh.router, model="nobody", duration_s=0.5)))
    totals = results["totals"]["all"]
    assert totals["failed"] == totals["offered"] > 0
    assert set(results["statuses"]) == {"NOT_FOUND unknown-model"}


async def test_a_router_that_dies_costs_what_is_offered_meanwhile_and_ends_nothing(identity_mesh: LocalMesh) -> None:
    def kill(_: object) -> None:
        identity_mesh.processes["router"].signal(9)  # type: ignore[arg-type]

    results = result(await play(plan(identity_mesh.router, deadline_s=2.0), on_begin=kill))
    totals = results["totals"]["all"]
    assert totals["offered"] == sum(totals[kind] for kind in Kind) > 0
    assert totals["failed"] > 0
    assert any(status.startswith("UNAVAILABLE") for status in results["statuses"])


async def test_without_a_router_one_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    address = f"127.0.0.1:{free_port()}"
    with pytest.raises(LoadFailed, match=f"no router answers at {address}"):
        await play(plan(address))
    assert children() == []


async def test_a_run_that_is_cancelled_leaves_no_process_behind(identity_mesh: LocalMesh) -> None:
    task = asyncio.ensure_future(play(plan(identity_mesh.router, duration_s=60.0, processes=2)))
    await until(lambda: len(children()) == 2)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert children() == []


async def test_a_process_that_dies_ends_the_run_with_a_word(identity_mesh: LocalMesh) -> None:
    def kill(_: object) -> None:
        for child in children():
            child.kill()

    with pytest.raises(LoadFailed, match="a process ended with status -9: it said nothing"):
        await play(plan(identity_mesh.router, duration_s=60.0), on_begin=kill)
