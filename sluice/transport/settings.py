"""What a program's gRPC server bears from the callers that connect to it: one section of settings for all programs."""

from __future__ import annotations

from pydantic import Field

from sluice.runtime.config import Section

# Core moves each connection's age by up to this share, so that they do not all end at once.
AGE_JITTER = 0.1
_FOR_EVER = 2**31 - 1


class Transport(Section):
    """Key `transport` of each program's section."""

    lame_duck_s: float = Field(default=0.5, ge=0, le=600)
    """How long a program that was told to stop goes on accepting connections and calls after it has reported
    NOT_SERVING, if anybody is connected: as long as clients and load balancers need to hear of it. On Kubernetes 5."""
    max_connection_age_s: float = Field(default=15, ge=0, le=86_400)
    """How old a connection gets, give or take a tenth; its caller is then told to open another, and open calls end on
    the old one. A stop waits so long for busy callers that watch no health. 0: no limit."""
    max_connection_age_grace_s: float = Field(default=0, ge=0, le=86_400)
    """How long calls may go on on a connection that is too old; what is open then is cut. 0: no limit."""
    max_connection_idle_s: float = Field(default=300, ge=0, le=86_400)
    """After how long a connection without calls is closed. 0: never."""
    max_concurrent_streams: int = Field(default=20_000, ge=1, le=1_000_000)
    """The most calls open on one connection. A client holds back further ones, but for those that it sends before it
    has heard of the bound, which are UNAVAILABLE: so not less than one client opens at once."""
    keepalive_s: float = Field(default=30, ge=0, le=86_400)
    """How long a connection may be silent until it is pinged. 0: never, and half-open ones stay."""
    keepalive_timeout_s: float = Field(default=10, ge=1, le=600)
    """How long the answer to such a ping may take; then the connection is closed and its calls are cancelled."""
    min_ping_interval_s: float = Field(default=5, ge=0, le=600)
    """How often a caller may ping without sending anything; one that goes on pinging sooner is disconnected."""
    max_metadata_bytes: int = Field(default=16_384, ge=1_024, le=1_048_576)
    """The most bytes of metadata of a call."""
    max_message_bytes: int = Field(default=4 * 1024 * 1024, ge=65_536, le=256 * 1024 * 1024)
    """The most bytes of a message that is received, before and after it is decompressed. gRPC's own default; a router
    holds that much for each call that is open, so raise it for larger `max_text_bytes` only."""
    accept_compression: bool = True
    """Whether compressed messages are read: 16 kB may then take `max_message_bytes` for each open call. Off, they
    end with UNIMPLEMENTED, and gRPC writes a line for each to standard error."""


def server_arguments(transport: Transport) -> tuple[tuple[str, int], ...]:
    """`transport` as gRPC's channel arguments of a server."""
    arguments = [
        ("grpc.max_concurrent_streams", transport.max_concurrent_streams),
        ("grpc.max_connection_age_ms", _ms_or_never(transport.max_connection_age_s)),
        ("grpc.max_connection_age_grace_ms", _ms_or_never(transport.max_connection_age_grace_s)),
        ("grpc.max_connection_idle_ms", _ms_or_never(transport.max_connection_idle_s)),
        ("grpc.keepalive_time_ms", _ms_or_never(transport.keepalive_s)),
        ("grpc.keepalive_timeout_ms", round(transport.keepalive_timeout_s * 1000)),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.max_pings_without_data", 0),
        ("grpc.http2.min_ping_interval_without_data_ms", round(transport.min_ping_interval_s * 1000)),
        ("grpc.max_metadata_size", transport.max_metadata_bytes),
        ("grpc.absolute_max_metadata_size", transport.max_metadata_bytes),
        ("grpc.max_receive_message_length", transport.max_message_bytes),
    ]
    if not transport.accept_compression:
        # Identity alone.
        arguments.append(("grpc.compression_enabled_algorithms_bitset", 1))
    return tuple(arguments)


def longest_age_s(transport: Transport) -> float:
    """By when every connection has been told that it is too old; 0 if none ever is."""
    return transport.max_connection_age_s * (1 + AGE_JITTER)


def _ms_or_never(seconds: float) -> int:
    return min(_FOR_EVER, round(seconds * 1000)) if seconds else _FOR_EVER
