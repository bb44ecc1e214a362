"""A connection to the router, as the generator sees it: attempts go in, and each ends or is broken off."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import grpc

from sluice.load.retry import Failure
from sluice.runtime.channel import proxy_options
from sluice.v1 import inference_service_pb2 as inference_pb2

OPTIONS: tuple[tuple[str, int], ...] = (
    # Each line is a connection of its own, and only the generator retries.
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.enable_retries", 0),
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.min_reconnect_backoff_ms", 2_000),
    ("grpc.max_reconnect_backoff_ms", 500),
    ("grpc.max_receive_message_length", 64 * 1024 * 1024),
)
RECONNECT_S = 0.1
BROKEN = "UNAVAILABLE"


class Attempt(NamedTuple):
    """What is put on a line. `expires_at` is an instant of the monotonic clock; `request` is never changed."""

    request: inference_pb2.InferRequest
    expires_at: float
    conversation_id: str


class Sink(Protocol):
    """Who is told how attempts end."""

    def answered(self, number: int, answer: inference_pb2.InferResponse) -> None:
        """Attempt `number` was answered."""

    def failed(self, number: int, failure: Failure) -> None:
        """Attempt `number` was refused, or failed."""

    def broke(self, line: Line, failure: Failure) -> None:
        """Everything open on `line` has failed; what is put from now on goes over a new connection."""


class Line(Protocol):
    """One connection. `up` says whether an attempt can be put; whoever puts one on a line that is down loses it."""

    up: bool

    def put(self, number: int, attempt: Attempt) -> None:
        """Send an attempt with the next flush. The number is not open on this line."""

    def cancel(self, number: int) -> None:
        """Nobody wants the answer any more."""

    def flush(self) -> None:
        """Send what was put, as one message where the transport can."""

    async def run(self) -> None:
        """Serve until cancelled, dialling again for ever."""


def line_channel(router: str) -> grpc.aio.Channel:
    """A connection of its own. The caller closes it."""
    return grpc.aio.insecure_channel(router, options=(*OPTIONS, *proxy_options(router)))
