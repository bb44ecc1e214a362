"""Channels between the mesh's own programs: one per peer, kept alive, and quick to notice that a peer is back.

gRPC dials through the HTTP proxy of `grpc_proxy`, `https_proxy` or `http_proxy`, loopback addresses included, unless
`no_proxy` names them. The mesh's own programs never dial through a proxy; other clients do so for other machines only.
"""

from __future__ import annotations

import ipaddress

import grpc

from sluice.runtime.message_size import MAX_BYTES

DIRECT: tuple[tuple[str, int], ...] = (("grpc.enable_http_proxy", 0),)
"""Options of a channel that ignores the environment's proxy."""

OPTIONS: tuple[tuple[str, int], ...] = (
    *DIRECT,
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.initial_reconnect_backoff_ms", 50),
    # How long one attempt may take. A peer that is busy is slow to answer, and being hung up on makes it no faster.
    ("grpc.min_reconnect_backoff_ms", 2_000),
    ("grpc.max_reconnect_backoff_ms", 1_000),
    ("grpc.max_receive_message_length", MAX_BYTES),
    ("grpc.max_send_message_length", MAX_BYTES),
)


def peer_channel(address: str, *, authority: str = "") -> grpc.aio.Channel:
    """A channel to the program at `address`, "HOST:PORT". The caller closes it.

    `authority` is the name by which the peer is known, if `address` is only one that the name was resolved to.
    """
    options = (*OPTIONS, *((("grpc.default_authority", authority),) if authority else ()))
    return grpc.aio.insecure_channel(address, options=options)


def proxy_options(target: str) -> tuple[tuple[str, int], ...]:
    """Options of a client's channel to `target`: loopback is dialled directly, all else as the environment says."""
    return DIRECT if is_loopback(target) else ()


def is_loopback(target: str) -> bool:
    """Whether a gRPC target, such as "localhost:50051" or "ipv4:127.0.0.1:1,127.0.0.2:1", names this machine only."""
    addresses = target.rpartition("/")[2].removeprefix("ipv4:").removeprefix("ipv6:").removeprefix("dns:").split(",")
    return all(_is_loopback_host(address) for address in addresses)


def _is_loopback_host(address: str) -> bool:
    # HOST:PORT, [HOST]:PORT, or a host alone; an IPv6 address without brackets has more than one colon.
    host = address.rpartition(":")[0] if address.count(":") == 1 or "]:" in address else address
    host = host.strip("[]").lower()
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
