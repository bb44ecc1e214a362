"""Workers that leave the fleet, are removed from it, or are only lost by its governor, while a router reaches them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest

from services.governor.control_loop import Governor
from services.router.requests.request import InferResult, Request
from services.router.router import Router
from sluice.cli.mesh import free_port
from sluice.control.degradation.report import Report
from sluice.control.directive import ActiveDirective
from sluice.control.fleet import DepartureReason, Registration
from sluice.control.membership_client import GovernorClient
from sluice.domain.enums import MemberKind, Task, Tier
from sluice.domain.variant import Variant
from tests.integration.fake_worker import FakeWorker, answer_well, router_to, serving
from tests.integration.live_governor import governing, idle
from tests.unit.polling import until

PROMISED_S = 2.0


async def ask(router: Router) -> InferResult:
    return await router.infer(Request(model="", text="text", deadline=time.monotonic() + 5))


class Fleet:
    """Two workers that serve the same, members of a governor in this process, and a router that knows them by it."""

    def __init__(self, governor_at: str, router: Router) -> None:
        self.governor_at = governor_at
        self.router = router
        self.workers = [FakeWorker(answer_well, tier=Tier.LIGHT) for _ in range(2)]
        self.addresses: list[str] = []
        self.members: list[asyncio.Task[None]] = []
        self.reports: list[Report] = [idle(), idle()]

    def registration(self, number: int) -> Registration:
        """The card of one worker."""
        return Registration(
            id=f"w{number}", kind=MemberKind.CPU_WORKER, address=self.addresses[number], boot=f"b{number}"
        )

    def join(self, number: int) -> None:
        """Let one worker be a member."""
        membership = GovernorClient(
            self.governor_at,
            self.registration(number),
            report=lambda: replace(self.reports[number], measured_at=idle().measured_at),
            directives=ActiveDirective(),
        )
        self.members.append(asyncio.create_task(membership.run()))

    async def ask(self) -> list[int]:
        """How many of sixteen requests each worker gets."""
        before = [sum(len(batch.items) for batch in worker.batches) for worker in self.workers]
        for _ in range(16):
            await ask(self.router)
        after = [sum(len(batch.items) for batch in worker.batches) for worker in self.workers]
        return [then - now for then, now in zip(after, before, strict=True)]

    def serving(self) -> set[str]:
        """The addresses of the workers that the router gives work."""
        return {link.address for link in self.router.pool.links() if link.is_serving}


@asynccontextmanager
async def router_of(governor_at: str, static: tuple[str, ...] = ()) -> AsyncIterator[Router]:
    """A router that follows the fleet of a governor."""
    async with router_to() as router:
        card = Registration(id="r", kind=MemberKind.ROUTER, address="10.0.0.9:1", boot="r")
        membership = GovernorClient(
            governor_at, card, report=idle, directives=ActiveDirective(), on_roster=router.pool.set_roster
        )
        router.pool.set_static(static)
        running = asyncio.create_task(membership.run())
        try:
            yield router
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)


@asynccontextmanager
async def fleet_of(governor_at: str) -> AsyncIterator[Fleet]:
    """Two workers whom the router uses because the governor names them."""
    async with AsyncExitStack() as stack:
        router = await stack.enter_async_context(router_of(governor_at))
        fleet = Fleet(governor_at, router)
        for number, worker in enumerate(fleet.workers):
            fleet.addresses.append(await stack.enter_async_context(serving(worker)))
            fleet.join(number)
        try:
            await until(lambda: fleet.serving() == set(fleet.addresses))
            yield fleet
        finally:
            for one in fleet.members:
                one.cancel()
            await asyncio.gather(*fleet.members, return_exceptions=True)


async def nothing_new(fleet: Fleet, number: int) -> None:
    """The worker gets nothing from two seconds from now on, and the others get it all."""
    await asyncio.wait_for(until(lambda: fleet.addresses[number] not in fleet.serving()), PROMISED_S)
    assert (await fleet.ask())[number] == 0


async def test_a_worker_that_leaves_the_fleet_and_goes_on_serving_gets_nothing_new() -> None:
    async with governing() as (_, at), fleet_of(at) as fleet:
        fleet.members[0].cancel()
        await nothing_new(fleet, 0)
        # It is back, and so is the work.
        fleet.join(0)
        await until(lambda: fleet.serving() == set(fleet.addresses))


async def test_a_worker_whose_report_says_that_it_drains_gets_nothing_new() -> None:
    async with governing() as (_, at), fleet_of(at) as fleet:
        fleet.reports[0] = replace(idle(), draining=True)
        await nothing_new(fleet, 0)
        fleet.reports[0] = idle()
        await until(lambda: fleet.serving() == set(fleet.addresses))


async def test_the_last_worker_that_leaves_gets_nothing_new_either() -> None:
    async with governing() as (_, at), fleet_of(at) as fleet:
        for one in fleet.members:
            one.cancel()
        await asyncio.wait_for(until(lambda: not fleet.serving()), PROMISED_S)


async def test_a_worker_whose_stream_the_governor_ended_gets_nothing_new_while_there_are_others() -> None:
    async with governing() as (governor, at), fleet_of(at) as fleet:
        bad = Variant(id="m/x-fp32", model="m", tier=Tier.UNSPECIFIED, task=Task.TEXT_CLASSIFICATION)
        fleet.reports[0] = replace(idle(), variants=(bad,))
        await nothing_new(fleet, 0)
        # It tries again and again, and is refused each time for the same reason.
        await asyncio.sleep(2.5)
        assert (await fleet.ask())[0] == 0
        told = {one.address: one.reason.name for one in governor.fleet().departed}
        assert told == {fleet.addresses[0]: "REMOVED"}
        fleet.reports[0] = idle()
        await until(lambda: fleet.serving() == set(fleet.addresses))


async def stays(fleet: Fleet, *, for_s: float = 2.5) -> None:
    """Both workers get work, over and over."""
    loop = asyncio.get_running_loop()
    give_up_at = loop.time() + for_s
    while loop.time() < give_up_at:
        assert fleet.serving() == set(fleet.addresses)
        assert sum(await fleet.ask()) == 16
        await asyncio.sleep(0.05)


async def test_a_partition_between_governor_and_worker_takes_nobody_out_of_service(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with governing() as (governor, at), fleet_of(at) as fleet:
        # Nothing of the worker reaches the governor any more, which is all that it can notice.
        heard = governor.report

        def hears_only_some(member_id: str, report: Report) -> None:
            if member_id != "w0":
                heard(member_id, report)

        monkeypatch.setattr(governor, "report", hears_only_some)
        monkeypatch.setattr(governor, "acknowledge", lambda *_: None)
        await until(lambda: "w0" not in {one.id for one in governor.table.members()})
        monkeypatch.setattr(governor, "join", refuses_w0(governor))
        await stays(fleet)
        assert "w0" not in {one.id for one in governor.table.members()}


def refuses_w0(governor: Governor) -> Any:
    """What a governor does that w0 cannot reach."""
    join = governor.join

    def joins(registration: Registration, **more: Any) -> int:
        if registration.id == "w0":
            raise ConnectionError("unreachable")
        return join(registration, **more)

    return joins


async def test_a_governor_that_goes_and_comes_back_empty_takes_nobody_out_of_service() -> None:
    port = free_port()
    at = f"127.0.0.1:{port}"
    async with AsyncExitStack() as stack:
        first = governing(100, port)
        await first.__aenter__()
        fleet = await stack.enter_async_context(fleet_of(at))
        await first.__aexit__(None, None, None)
        await stays(fleet, for_s=1.0)
        for one in fleet.members:
            one.cancel()
        async with governing(200, port) as (governor, _):
            await until(lambda: [one.id for one in governor.table.members()] == ["r"])
            await stays(fleet)


async def test_a_static_worker_stays_whatever_the_governor_says() -> None:
    worker = FakeWorker(answer_well)
    async with governing() as (governor, at), serving(worker) as address, router_of(at, (address,)) as router:
        other = Registration(id="other", kind=MemberKind.CPU_WORKER, address="10.0.0.3:1", boot="o")
        governor.join(other)
        ticket = governor.join(Registration(id="w", kind=MemberKind.CPU_WORKER, address=address))
        await until(lambda: [link.is_serving for link in router.pool.links() if link.address == address] == [True])
        for reason in DepartureReason:
            governor.leave("w", ticket, reason)
            await asyncio.sleep(0.2)
            assert (await ask(router)).worker == "fake"
            ticket = governor.join(Registration(id="w", kind=MemberKind.CPU_WORKER, address=address))
