"""How a client's channel behaves: how it spreads calls, what it retries, and how it notices that a router is gone.

The service config is a file of its own, `service_config.json`, so that clients in other languages can use it too.
"""

from __future__ import annotations

import functools
import json
from importlib import resources

DEFAULT_ROUTER = "127.0.0.1:50051"
SERVICE_CONFIG_FILE = "service_config.json"


@functools.cache
def service_config() -> str:
    """The published service config, as JSON on one line."""
    file = resources.files("sluice.client") / SERVICE_CONFIG_FILE
    return json.dumps(json.loads(file.read_text(encoding="utf-8")), separators=(",", ":"))


def channel_options() -> tuple[tuple[str, int | str], ...]:
    """The options of a channel to routers: one, or several as "ipv4:HOST:PORT,HOST:PORT" or "dns:///NAME:PORT"."""
    return (
        ("grpc.service_config", service_config()),
        ("grpc.enable_retries", 1),
        # gRPC asks a name again only when a connection ends, and not within 30 s of the last time.
        ("grpc.dns_min_time_between_resolutions_ms", 1_000),
        ("grpc.keepalive_time_ms", 30_000),
        ("grpc.keepalive_timeout_ms", 10_000),
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.max_reconnect_backoff_ms", 2_000),
        ("grpc.max_receive_message_length", 64 * 1024 * 1024),
    )
