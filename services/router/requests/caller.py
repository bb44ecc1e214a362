"""Who is calling: one value object, made once a call or stream from the peer's address, and read by everybody else.

Until callers have identities, a caller is an address: without its port, because one caller may open any number of
connections, and an IPv6 address by its /64, because one host has all of that. Behind a proxy that is trusted, it is
what the proxy says in a metadata key.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any
from urllib.parse import unquote

import grpc

Network = IPv4Network | IPv6Network
Address = IPv4Address | IPv6Address

IPV6_PREFIX = 64
# What a proxy says is read from its end, where the nearest proxy wrote, and no further than this.
MAX_FORWARDED_BYTES = 1_024
MAX_ID_BYTES = 64
# So many connections, and so many callers behind proxies, are remembered; a stranger costs microseconds.
MAX_KNOWN = 4_096


@dataclass(frozen=True, slots=True)
class Caller:
    """`id` is at most 64 bytes, and equal for calls of the same caller. Empty: nobody knows, each call is by itself."""

    id: str = ""


ANONYMOUS = Caller()
LOCAL = Caller("unix")


class Bundle:
    """Texts that come in one call, however many: what admission decided for the first holds for all."""

    __slots__ = ("verdicts",)

    def __init__(self) -> None:
        self.verdicts: dict[int, bool] = {}


class CallerResolver:
    """Tells callers apart. Peers in `trusted_proxies` name the caller in the metadata key `forwarded_key`."""

    def __init__(self, *, trusted_proxies: Iterable[Network] = (), forwarded_key: str = "x-forwarded-for") -> None:
        self._proxies = tuple(trusted_proxies)
        self._key = forwarded_key.lower()
        self._of_peer = lru_cache(maxsize=MAX_KNOWN)(self._resolve_peer)
        self._of_forwarded = lru_cache(maxsize=MAX_KNOWN)(self._resolve_forwarded)

    def resolve(self, context: grpc.aio.ServicerContext[Any, Any]) -> Caller:
        """Who makes the call of `context`."""
        caller, is_proxy = self._of_peer(context.peer())
        if is_proxy:
            for key, value in context.invocation_metadata() or ():
                if key == self._key and isinstance(value, str):
                    return self._of_forwarded(value[-MAX_FORWARDED_BYTES:]) or caller
        return caller

    def _resolve_peer(self, peer: str) -> tuple[Caller, bool]:
        """The caller at a peer as gRPC names it, like `ipv4:1.2.3.4:5` or `ipv6:[::1]:5`; and whether it is a proxy."""
        kind, _, rest = peer.partition(":")
        if kind == "unix":
            return LOCAL, False
        address = parse_address(unquote(rest))
        if address is None:
            return Caller(bounded(peer.rpartition(":")[0] or peer)), False
        return Caller(id_of(address)), self._is_proxy(address)

    def _resolve_forwarded(self, value: str) -> Caller | None:
        """The nearest caller in a list of hops that is no trusted proxy itself; None when the list names nobody."""
        for hop in reversed(value.split(",")):
            name = hop.strip()
            address = parse_address(name)
            if address is not None and not self._is_proxy(address):
                return Caller(id_of(address))
            if address is None and name:
                return Caller(bounded(f"name:{name}"))
        return None

    def _is_proxy(self, address: Address) -> bool:
        return any(address in network for network in self._proxies)


def parse_networks(text: Iterable[str]) -> tuple[Network, ...]:
    """The networks that `text` lists in CIDR notation. Raises ValueError for what is none."""
    return tuple(ip_network(one, strict=False) for one in text)


def parse_address(text: str) -> Address | None:
    """The IP address in `text`, with or without a port and brackets; None when there is none."""
    host = text
    if text.startswith("["):
        host = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        host = text.partition(":")[0]
    for candidate in (host, text.rpartition(":")[0]):
        try:
            address = ip_address(candidate.partition("%")[0])
        except ValueError:
            continue
        mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
        return mapped or address
    return None


def id_of(address: Address) -> str:
    """The name of the caller at `address`."""
    if isinstance(address, IPv4Address):
        return str(address)
    return str(IPv6Network((address, IPV6_PREFIX), strict=False))


def bounded(name: str) -> str:
    """`name`, or as long a prefix and a digest as fit into `MAX_ID_BYTES`."""
    data = name.encode()
    if len(data) <= MAX_ID_BYTES:
        return name
    digest = blake2b(data, digest_size=8).hexdigest()
    return f"{data[: MAX_ID_BYTES - len(digest) - 1].decode(errors='ignore')}~{digest}"
