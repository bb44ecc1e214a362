"""Channels between the mesh's own programs: one per peer, kept alive, and quick to notice that a peer is back."""

from __future__ import annotations

import grpc

OPTIONS: tuple[tuple[str, int], ...] = (
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.initial_reconnect_backoff_ms", 50),
    # How long one attempt may take. A peer that is busy is slow to answer, and being hung up on makes it no faster.
    ("grpc.min_reconnect_backoff_ms", 2_000),
    ("grpc.max_reconnect_backoff_ms", 1_000),
    ("grpc.max_receive_message_length", 64 * 1024 * 1024),
    ("grpc.max_send_message_length", 64 * 1024 * 1024),
)


def peer_channel(address: str) -> grpc.aio.Channel:
    """A channel to the program at `address`, "HOST:PORT". The caller closes it."""
    return grpc.aio.insecure_channel(address, options=OPTIONS)
