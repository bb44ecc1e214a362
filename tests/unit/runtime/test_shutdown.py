"""The order of a stop, seen by a server that only writes down what it is told."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator, Sequence

import pytest

from sluice.transport.settings import Transport
from sluice.transport.shutdown import drain, until_signalled

LAME_DUCK_S = 0.05


class Told:
    """A server with so many callers, of whom some are busy."""

    def __init__(self, *, callers: int, busy: int = 0, age_s: float = 0.1) -> None:
        self.transport = Transport(lame_duck_s=LAME_DUCK_S, max_connection_age_s=age_s)
        self.order: list[str] = []
        self._callers = callers
        self._busy = busy

    async def set_ready(self, *, ready: bool) -> None:
        self.order.append("ready" if ready else "not serving")

    def callers(self) -> int:
        return self._callers

    def busy_callers(self, quiet_s: float) -> Sequence[object]:
        self.order.append("looked")
        return [object()] * self._busy

    def close_listener(self) -> bool:
        self.order.append("listener shut")
        return True

    async def stop(self, grace_s: float) -> None:
        self.order.append(f"stopped {grace_s:g}")

    async def finish(self) -> None:
        self.order.append("finished")


def steps(server: Told) -> list[str]:
    """What happened, without repetitions."""
    return list(dict.fromkeys(server.order))


async def test_it_says_so_first_and_ends_connections_last() -> None:
    server = Told(callers=1)
    begun_at = asyncio.get_running_loop().time()
    await drain(server, server.finish, grace_s=1, steers=True)
    assert steps(server) == ["not serving", "listener shut", "looked", "finished", "stopped 1"]
    assert asyncio.get_running_loop().time() - begun_at >= LAME_DUCK_S


async def test_busy_callers_are_waited_for_until_their_connections_are_too_old() -> None:
    server = Told(callers=2, busy=1)
    await drain(server, server.finish, grace_s=1, steers=True)
    assert server.order.count("looked") >= 2
    assert server.order[-2:] == ["finished", "stopped 1"]


async def test_without_callers_nothing_is_waited_for() -> None:
    server = Told(callers=0)
    server.transport = Transport(lame_duck_s=600)
    async with asyncio.timeout(5):
        await drain(server, server.finish, grace_s=1, steers=True)
    assert server.order[-1] == "stopped 1"


async def test_what_does_not_end_in_time_is_cut() -> None:
    server = Told(callers=0)

    async def never() -> None:
        await asyncio.Event().wait()

    async with asyncio.timeout(5):
        await drain(server, never, grace_s=0.05, cut=lambda: server.order.append("cut"))
    assert server.order[-2:] == ["cut", "stopped 1"]


async def test_a_second_signal_skips_every_wait() -> None:
    server = Told(callers=1, busy=1, age_s=600)
    server.transport = Transport(lame_duck_s=600, max_connection_age_s=600)
    hurry = asyncio.Event()
    asyncio.get_running_loop().call_later(0.05, hurry.set)
    async with asyncio.timeout(5):
        await drain(
            server, server.finish, grace_s=600, steers=True, cut=lambda: server.order.append("cut"), hurry=hurry
        )
    assert server.order[-1] == "stopped 0"
    assert "listener shut" in server.order


@pytest.fixture
def signals_restored() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


async def signalled(*pauses_s: float, same_stop_s: float) -> bool:
    """Whether a second signal was seen when one was sent, and another one after each pause."""
    waiting = asyncio.create_task(until_signalled(same_stop_s=same_stop_s))
    await asyncio.sleep(0.01)
    for pause_s in (0.0, *pauses_s):
        await asyncio.sleep(pause_s)
        os.kill(os.getpid(), signal.SIGTERM)
        # So that the loop has seen it before it is sent again, and the two are not one to the system.
        await asyncio.sleep(0.01)
    hurry = await asyncio.wait_for(waiting, 5)
    return hurry.is_set()


@pytest.mark.usefixtures("signals_restored")
@pytest.mark.parametrize(
    ("pauses_s", "same_stop_s", "hurried"),
    [((), 600.0, False), ((0.0, 0.0), 600.0, False), ((0.0,), 0.0, True), ((0.1,), 0.05, True)],
)
async def test_a_signal_that_is_sent_twice_at_once_is_no_second_one(
    pauses_s: tuple[float, ...], same_stop_s: float, hurried: bool
) -> None:
    assert await signalled(*pauses_s, same_stop_s=same_stop_s) is hurried
