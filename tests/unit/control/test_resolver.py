"""Names and their addresses over time."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluice.control.membership_client import PeerAddresses, after
from sluice.transport.resolver import (
    MISSES,
    ResolveError,
    Resolver,
    follow,
    is_literal,
    join_host_port,
    split_host_port,
)

answers = st.none() | st.sets(st.sampled_from(["a:1", "b:1", "c:1", "d:1"]))


@given(st.lists(answers, max_size=30))
def test_an_address_is_known_from_its_first_answer_until_three_in_a_row_miss_it(told: list[set[str] | None]) -> None:
    known: dict[str, int] = {}
    for answer in told:
        known = follow(known, answer)
    useful = [answer for answer in told if answer]
    assert known.keys() == set().union(*useful[-MISSES:])


@given(st.lists(answers.filter(bool), min_size=1), st.lists(st.sampled_from([None, frozenset[str]()]), max_size=50))
def test_a_resolver_that_fails_or_names_nobody_changes_nothing(
    told: list[set[str]], failures: list[frozenset[str] | None]
) -> None:
    known: dict[str, int] = {}
    for answer in told:
        known = follow(known, answer)
    before = dict(known)
    for failure in failures:
        known = follow(known, failure)
    assert known == before


@given(st.sets(st.sampled_from(["a:1", "b:1", "c:1", "d:1"]), min_size=1))
def test_all_addresses_are_dialled_in_turn(known: set[str]) -> None:
    numbers, dialled, current = dict.fromkeys(known, 0), [], ""
    for _ in range(2 * len(known)):
        current = after(numbers, current)
        dialled.append(current)
    assert dialled == sorted(known) * 2
    assert after({}, "a:1") == ""


@pytest.mark.parametrize(
    ("address", "host", "port", "literal"),
    [
        ("10.0.0.1:5", "10.0.0.1", 5, True),
        ("[::1]:5", "::1", 5, True),
        ("[fe80::1%eth0]:5", "fe80::1%eth0", 5, True),
        ("workers.svc:50061", "workers.svc", 50061, False),
        ("localhost:1", "localhost", 1, False),
    ],
)
def test_hosts_and_ports_are_told_apart(address: str, host: str, port: int, *, literal: bool) -> None:
    assert split_host_port(address) == (host, port)
    assert join_host_port(host, port) == address
    assert is_literal(address) is literal


@pytest.mark.parametrize("address", ["", "host", "host:", "host:x", "host:65536", "host:٣"])
def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(ValueError, match="HOST:PORT"):
        split_host_port(address)


async def test_all_records_are_told_once_and_in_order_and_no_more_than_the_bound() -> None:
    resolver = Resolver(lambda _host, _port: ["10.0.0.3", "::1", "10.0.0.1", "10.0.0.3"], most=2)
    assert await resolver.resolve("workers:7") == ("10.0.0.1:7", "10.0.0.3:7")
    assert await Resolver(lambda _host, _port: ["::1"]).resolve("workers:7") == ("[::1]:7",)


async def test_an_address_is_not_looked_up() -> None:
    def never(host: str, port: int) -> Iterable[str]:
        raise AssertionError("looked up")

    assert await Resolver(never).resolve("[::1]:7") == ("[::1]:7",)


@pytest.mark.parametrize("failure", [OSError("no such name"), UnicodeError("label too long"), None])
async def test_a_name_without_addresses_is_an_error_that_names_it(failure: Exception | None) -> None:
    def fails(host: str, port: int) -> Iterable[str]:
        if failure is not None:
            raise failure
        return ()

    with pytest.raises(ResolveError, match="workers"):
        await Resolver(fails).resolve("workers:7")


async def test_a_look_up_that_hangs_holds_up_nobody_and_is_not_begun_twice() -> None:
    go_on = threading.Event()
    begun: list[str] = []

    def hangs(host: str, port: int) -> Iterable[str]:
        begun.append(host)
        if host == "slow":
            go_on.wait(10)
        return ["10.0.0.1"]

    resolver = Resolver(hangs, timeout_s=0.05)
    try:
        for _ in range(3):
            with pytest.raises(ResolveError, match="not told within"):
                await resolver.resolve("slow:1")
        assert await resolver.resolve("quick:1") == ("10.0.0.1:1",)
        assert begun == ["slow", "quick"]
        waiting = asyncio.create_task(resolver.resolve("slow:1"))
        await asyncio.sleep(0)
        go_on.set()
        assert await waiting == ("10.0.0.1:1",)
    finally:
        go_on.set()


async def test_a_peer_keeps_its_address_until_it_fails_or_leaves_the_name() -> None:
    records = ["10.0.0.1", "10.0.0.2"]
    peer = PeerAddresses("governor:5", Resolver(lambda _host, _port: list(records)))
    assert (await peer.refresh(), peer.current) == ("", "10.0.0.1:5")
    peer.failed()
    assert peer.current == "10.0.0.2:5"
    records[:] = ["10.0.0.1", "10.0.0.3"]
    for _ in range(MISSES - 1):
        await peer.refresh()
        assert peer.current == "10.0.0.2:5"
    await peer.refresh()
    assert peer.current == "10.0.0.1:5"
    records.clear()
    assert "governor" in await peer.refresh()
    assert peer.current == "10.0.0.1:5"
