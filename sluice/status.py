"""Failures on the wire: the one place where an error becomes a gRPC status, and a status an error.

A call's failure travels as grpc-status with google.rpc details; an item's failure inside a message
travels as `sluice.v1.ItemStatus`. Both carry the same code, reason, field and time to come back.
"""

from __future__ import annotations

import math
from typing import NoReturn

import grpc
from google.protobuf.any_pb2 import Any
from google.protobuf.duration_pb2 import Duration
from google.rpc import code_pb2, error_details_pb2, status_pb2

from sluice.errors import (
    Cancelled,
    Expired,
    InvalidRequest,
    NoEndpoint,
    Outranked,
    Saturated,
    ShuttingDown,
    SluiceError,
    UnknownModel,
    WorkerFailed,
    WorkerLost,
)
from sluice.v1 import inference_service_pb2 as inference_pb2

DOMAIN = "sluice"
# Protobuf's own bound of a Duration, ten thousand years.
LONGEST_S = 315_576_000_000.0
DETAILS_KEY = "grpc-status-details-bin"
PUSHBACK_KEY = "grpc-retry-pushback-ms"
# The same in whole seconds, as HTTP has it (RFC 9110, 10.2.3), for proxies and clients that know nothing of gRPC's.
RETRY_AFTER_KEY = "retry-after"
HEADER_PREFIX = "x-sluice-"

Trailers = tuple[tuple[str, str | bytes], ...]

_BY_REASON: dict[str, type[SluiceError]] = {
    kind.reason: kind
    for kind in (
        InvalidRequest, UnknownModel, Expired, Saturated, Outranked, NoEndpoint, ShuttingDown, WorkerFailed,
        WorkerLost, Cancelled,
    )
}  # fmt: skip


def duration(seconds: float) -> Duration:
    """`seconds` as a protobuf Duration; negative times become 0, and those beyond its range its longest."""
    nanos = round(min(max(0.0, seconds), LONGEST_S) * 1e9)
    return Duration(seconds=nanos // 1_000_000_000, nanos=nanos % 1_000_000_000)


def seconds_of(value: Duration) -> float:
    """A protobuf Duration in seconds."""
    return value.seconds + value.nanos * 1e-9


def trailers(error: SluiceError) -> Trailers:
    """The trailing metadata of a call that fails with `error`: rich details and, if shed, the pushback and why."""
    details = [error_details_pb2.ErrorInfo(reason=error.reason, domain=DOMAIN, metadata=error.metadata)]
    if error.field:
        violation = error_details_pb2.BadRequest.FieldViolation(field=error.field, description=error.message)
        details.append(error_details_pb2.BadRequest(field_violations=[violation]))
    if error.retry_after_s is not None:
        details.append(error_details_pb2.RetryInfo(retry_delay=duration(error.retry_after_s)))
    status = status_pb2.Status(code=_number(error), message=error.message)
    for detail in details:
        packed = Any()
        packed.Pack(detail)
        status.details.append(packed)
    pairs: list[tuple[str, str | bytes]] = [(DETAILS_KEY, status.SerializeToString())]
    if isinstance(error, Saturated):
        wait_s = error.retry_after_s
        pairs.append((PUSHBACK_KEY, "-1" if wait_s is None else str(round(wait_s * 1000))))
        if wait_s is not None:
            pairs.append((RETRY_AFTER_KEY, str(math.ceil(wait_s))))
        pairs.extend((f"{HEADER_PREFIX}{name}", value) for name, value in error.metadata.items())
    return tuple(pairs)


async def abort(context: grpc.aio.ServicerContext, error: SluiceError) -> NoReturn:  # type: ignore[type-arg]
    """End the call with `error`'s status, details and trailers. Never returns."""
    await context.abort(error.code, error.message, trailers(error))
    raise AssertionError("abort returned")


def to_item_status(error: SluiceError) -> inference_pb2.ItemStatus:
    """An item's failure inside a message."""
    status = inference_pb2.ItemStatus(
        code=_number(error), message=error.message, reason=error.reason, field=error.field, metadata=error.metadata
    )
    if error.retry_after_s is not None:
        status.retry_after.CopyFrom(duration(error.retry_after_s))
    return status


def from_item_status(status: inference_pb2.ItemStatus) -> SluiceError:
    """The error that `to_item_status` wrote; an unknown reason is a worker's failure."""
    kind = _BY_REASON.get(status.reason, WorkerFailed)
    wait_s = seconds_of(status.retry_after) if status.HasField("retry_after") else None
    error = kind(status.message, field=status.field, retry_after_s=wait_s)
    if status.metadata:
        error.metadata = dict(status.metadata)
    return error


def _number(error: SluiceError) -> int:
    return int(code_pb2.Code.Value(error.code.name))
