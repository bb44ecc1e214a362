"""How a request can fail, and nothing about transport.

Each class is one row of the status contract: a gRPC code, a reason for programs, a sentence for people.
`sluice.domain.status` carries them over the wire and back.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import ClassVar

import grpc


class Reason(StrEnum):
    """The stable, machine-readable cause of a failure."""

    SATURATED = "rejected-saturated"
    PRIORITY = "rejected-priority"
    EXPIRED = "rejected-ttl-expired"
    NO_ENDPOINTS = "rejected-no-endpoints"
    SHUTTING_DOWN = "rejected-shutting-down"
    UNKNOWN_MODEL = "unknown-model"
    INVALID_ARGUMENT = "invalid-argument"
    WORKER_LOST = "worker-lost"
    WORKER_FAILED = "worker-failed"
    CANCELLED = "cancelled"
    ANSWER_TOO_LARGE = "answer-too-large"


_NOTHING: Mapping[str, str] = MappingProxyType({})


class SluiceError(Exception):
    """A request's failure. `field` names the request's field at fault, `retry_after_s` invites to come back.

    `metadata` holds more about the cause, for programs.
    """

    code: ClassVar[grpc.StatusCode] = grpc.StatusCode.INTERNAL
    reason: Reason = Reason.WORKER_FAILED
    metadata: Mapping[str, str] = _NOTHING

    def __init__(self, message: str, *, field: str = "", retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.field = field
        self.retry_after_s = retry_after_s


class InvalidRequest(SluiceError):
    """The request cannot be served by anyone as it stands."""

    code = grpc.StatusCode.INVALID_ARGUMENT
    reason = Reason.INVALID_ARGUMENT


class UnknownModel(SluiceError):
    """No worker has ever offered the model."""

    code = grpc.StatusCode.NOT_FOUND
    reason = Reason.UNKNOWN_MODEL


class Expired(SluiceError):
    """The deadline passed before an answer, or cannot be met."""

    code = grpc.StatusCode.DEADLINE_EXCEEDED
    reason = Reason.EXPIRED


class Saturated(SluiceError):
    """Capacity exists and is contended."""

    code = grpc.StatusCode.RESOURCE_EXHAUSTED
    reason = Reason.SATURATED


class Outranked(Saturated):
    """Capacity exists, and more important requests take all of it."""

    reason = Reason.PRIORITY


class NoEndpoint(SluiceError):
    """Nobody serves the model just now."""

    code = grpc.StatusCode.UNAVAILABLE
    reason = Reason.NO_ENDPOINTS


class ShuttingDown(SluiceError):
    """The program that was asked is about to stop."""

    code = grpc.StatusCode.UNAVAILABLE
    reason = Reason.SHUTTING_DOWN


class WorkerLost(SluiceError):
    """The worker that wrote a text went away in the middle of it; `metadata` has its `tokens` until then."""

    code = grpc.StatusCode.UNAVAILABLE
    reason = Reason.WORKER_LOST


class WorkerFailed(SluiceError):
    """Two workers failed on this request, or one answered what cannot be read."""

    code = grpc.StatusCode.INTERNAL
    reason = Reason.WORKER_FAILED


class Cancelled(SluiceError):
    """The caller no longer wants the answer."""

    code = grpc.StatusCode.CANCELLED
    reason = Reason.CANCELLED


class AnswerTooLarge(SluiceError):
    """The answer alone is larger than any message that the caller takes; another try would be no smaller."""

    code = grpc.StatusCode.FAILED_PRECONDITION
    reason = Reason.ANSWER_TOO_LARGE
