"""Who is calling, from what gRPC and trusted proxies say."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.router.requests.caller import MAX_FORWARDED_BYTES, MAX_ID_BYTES, CallerResolver, parse_networks


class Context:
    """A call, as far as its caller is concerned."""

    def __init__(self, peer: str, *metadata: tuple[str, str | bytes]) -> None:
        self._peer = peer
        self._metadata = metadata

    def peer(self) -> str:
        return self._peer

    def invocation_metadata(self) -> tuple[tuple[str, str | bytes], ...]:
        return self._metadata


def caller(peer: str, forwarded: str | bytes | None = None, *, proxies: tuple[str, ...] = ("10.0.0.0/8",)) -> str:
    resolver = CallerResolver(trusted_proxies=parse_networks(proxies), forwarded_key="x-forwarded-for")
    metadata = (("x-forwarded-for", forwarded),) if forwarded is not None else ()
    context: Any = Context(peer, *metadata)
    return resolver.resolve(context).id


@pytest.mark.parametrize(
    ("peer", "name"),
    [
        ("ipv4:127.0.0.2:50123", "127.0.0.2"),
        ("ipv6:[::1]:50123", "::/64"),
        ("ipv6:%5B::1%5D:50123", "::/64"),
        ("ipv6:[2001:db8:1:2:3:4:5:6]:9", "2001:db8:1:2::/64"),
        ("ipv6:[::ffff:192.0.2.7]:9", "192.0.2.7"),
        ("ipv6:[fe80::1%25eth0]:9", "fe80::/64"),
        ("unix:/run/sluice.sock", "unix"),
        ("unix:", "unix"),
    ],
)
def test_a_caller_is_an_address_without_its_port(peer: str, name: str) -> None:
    assert caller(peer) == name


def test_connections_of_one_host_are_one_caller_and_hosts_are_not() -> None:
    assert {caller(f"ipv4:192.0.2.7:{port}") for port in range(1_000, 1_020)} == {"192.0.2.7"}
    assert caller("ipv4:192.0.2.7:1") != caller("ipv4:192.0.2.8:1")


@pytest.mark.parametrize(
    ("forwarded", "name"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("192.0.2.7:4711", "192.0.2.7"),
        # What the caller itself claims stands first, what the nearest proxy saw last.
        ("203.0.113.1, 192.0.2.7", "192.0.2.7"),
        ("192.0.2.7, 10.1.1.1", "192.0.2.7"),
        ("[2001:db8::1]:80", "2001:db8::/64"),
        ("team-a", "name:team-a"),
        ("", "10.1.2.3"),
        ("10.1.1.1", "10.1.2.3"),
        (b"192.0.2.7", "10.1.2.3"),
        (None, "10.1.2.3"),
    ],
)
def test_behind_a_trusted_proxy_it_is_whom_the_proxy_names(forwarded: str | bytes | None, name: str) -> None:
    assert caller("ipv4:10.1.2.3:5", forwarded) == name


def test_nobody_else_is_believed() -> None:
    assert caller("ipv4:192.0.2.9:5", "192.0.2.7") == "192.0.2.9"
    assert caller("ipv4:10.1.2.3:5", "192.0.2.7", proxies=()) == "10.1.2.3"


@given(st.text(max_size=4 * MAX_FORWARDED_BYTES), st.text(max_size=200))
def test_whatever_is_said_names_are_short(forwarded: str, peer: str) -> None:
    assert len(caller("ipv4:10.1.2.3:5", forwarded).encode()) <= MAX_ID_BYTES
    assert len(caller(peer).encode(errors="replace")) <= MAX_ID_BYTES


def test_long_names_are_told_apart() -> None:
    assert caller("ipv4:10.1.2.3:5", "a" * 100 + "1") != caller("ipv4:10.1.2.3:5", "a" * 100 + "2")
