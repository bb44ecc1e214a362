"""Failures on the wire: the one place where an error becomes a gRPC status, and a status an error.

A call's failure travels as grpc-status with google.rpc details; an item's failure inside a message
travels as `sluice.v1.ItemStatus`. Both carry the same code, reason, field and time to come back.
"""

from __future__ import annotations

import asyncio
import math
import re
from collections.abc import Iterable
from typing import NoReturn

import grpc
from google.protobuf.any_pb2 import Any
from google.protobuf.duration_pb2 import Duration
from google.rpc import code_pb2, error_details_pb2, status_pb2

from sluice.domain.errors import (
    AnswerTooLarge,
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
# A status travels up to three times in the trailers of a call, of which a client takes 8 KiB by default.
MAX_MESSAGE_BYTES = 1_024
MAX_RETRY_AFTER_S = 3_600.0
MAX_NAME_BYTES = 256
MAX_METADATA = 16
_METADATA_KEY = re.compile(r"[a-z0-9_][a-z0-9_.-]{0,63}")
_METADATA_VALUE = re.compile(r"[ -~]{0,256}")

Trailers = tuple[tuple[str, str | bytes], ...]

_BY_REASON: dict[str, type[SluiceError]] = {
    kind.reason: kind
    for kind in (
        InvalidRequest, UnknownModel, Expired, Saturated, Outranked, NoEndpoint, ShuttingDown, WorkerFailed,
        WorkerLost, Cancelled, AnswerTooLarge,
    )
}  # fmt: skip


def duration(seconds: float) -> Duration:
    """`seconds` as a protobuf Duration; negative times become 0, and those beyond its range its longest."""
    nanos = round(min(max(0.0, seconds), LONGEST_S) * 1e9)
    return Duration(seconds=nanos // 1_000_000_000, nanos=nanos % 1_000_000_000)


def seconds_of(value: Duration) -> float:
    """A protobuf Duration in seconds."""
    return value.seconds + value.nanos * 1e-9


def shortened(message: str) -> str:
    """`message`, cut to MAX_MESSAGE_BYTES of UTF-8: no longer than any client takes."""
    if len(message) <= MAX_MESSAGE_BYTES // 4:
        return message
    data = message.encode(errors="replace")
    if len(data) <= MAX_MESSAGE_BYTES:
        return message
    return f"{data[: MAX_MESSAGE_BYTES - 3].decode(errors='ignore')}..."


def is_metadata(key: str, value: str) -> bool:
    """Whether a pair may stand in a call's trailers; one that may not would break the call that carries it."""
    is_reserved = key.startswith("grpc-") or key.endswith("-bin")
    return bool(_METADATA_KEY.fullmatch(key) and _METADATA_VALUE.fullmatch(value)) and not is_reserved


def trailers(error: SluiceError) -> Trailers:
    """The trailing metadata of a call that fails with `error`: rich details and, if shed, the pushback and why."""
    message = shortened(error.message)
    details = [error_details_pb2.ErrorInfo(reason=error.reason, domain=DOMAIN, metadata=error.metadata)]
    if error.field:
        violation = error_details_pb2.BadRequest.FieldViolation(field=error.field, description=message)
        details.append(error_details_pb2.BadRequest(field_violations=[violation]))
    if error.retry_after_s is not None:
        details.append(error_details_pb2.RetryInfo(retry_delay=duration(error.retry_after_s)))
    status = status_pb2.Status(code=_number(error), message=message)
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
        pairs.extend(
            (f"{HEADER_PREFIX}{name}", value) for name, value in error.metadata.items() if is_metadata(name, value)
        )
    return tuple(pairs)


async def abort(context: grpc.aio.ServicerContext, error: SluiceError) -> NoReturn:  # type: ignore[type-arg]
    """End the call with `error`'s status, details and trailers. Never returns."""
    await abort_with(context, error.code, shortened(error.message), trailers(error))


async def abort_with(
    context: grpc.aio.ServicerContext,  # type: ignore[type-arg]
    code: grpc.StatusCode,
    message: str,
    trailing: Trailers = (),
) -> NoReturn:
    """End the call so. Never returns. Nothing of what the call's handlers held is kept for the garbage collector.

    gRPC keeps the error that it raises here with the call, the call keeps the context, and the error's traceback has
    frames that keep the context and the request: a circle that would hold the request, of up to 4 MiB, until the
    collector's next full pass.
    """
    try:
        await context.abort(code, message, trailing)
    except BaseException as error:
        # AbortError, or CancelledError when the call's deadline passes at this very moment. By then it has gone through
        # all frames of the call.
        asyncio.get_running_loop().call_soon(_forget_frames, error)
        raise
    raise AssertionError("abort returned")


def _forget_frames(error: BaseException | None) -> None:
    # An error that ended a request may be in the frames that its own traceback holds.
    while error is not None:
        error.__traceback__, cause, error.__context__ = None, error.__context__, None
        error = cause


def to_item_status(error: SluiceError) -> inference_pb2.ItemStatus:
    """An item's failure inside a message."""
    status = inference_pb2.ItemStatus(
        code=_number(error),
        message=shortened(error.message),
        reason=error.reason,
        field=error.field,
        metadata=error.metadata,
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


def check_item_status(status: inference_pb2.ItemStatus) -> None:
    """Raise ValueError naming the field of `status` that is outside the bounds of the contract.

    A long message is none: it is for people, and is cut where it goes on.
    """
    if not 0 <= status.code <= max(code_pb2.Code.values()):
        raise ValueError(f"code: there is no google.rpc.Code {status.code}")
    for name, value in (("reason", status.reason), ("field", status.field)):
        if len(value.encode()) > MAX_NAME_BYTES or not value.isprintable():
            raise ValueError(f"{name}: it must have at most {MAX_NAME_BYTES} bytes, all of them printable")
    if status.HasField("retry_after") and not 0.0 <= seconds_of(status.retry_after) <= MAX_RETRY_AFTER_S:
        raise ValueError(f"retry_after: it is {seconds_of(status.retry_after):g} s, and at most an hour is bearable")
    _check_metadata(status.metadata.items())


def _check_metadata(metadata: Iterable[tuple[str, str]]) -> None:
    pairs = list(metadata)
    if len(pairs) > MAX_METADATA:
        raise ValueError(f"metadata: there are {len(pairs)} pairs, and {MAX_METADATA} is the most")
    for key, value in pairs:
        if not is_metadata(key, value):
            problem = "a key has 1 to 64 of a-z 0-9 _ . -, a value at most 256 printable characters of ASCII"
            raise ValueError(f"metadata: {problem}; {key[:64]!r} and {value[:64]!r} are not so")


def _number(error: SluiceError) -> int:
    return int(code_pb2.Code.Value(error.code.name))
