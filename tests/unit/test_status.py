"""Failures on the wire: what one end meant is what the other end raises."""

from __future__ import annotations

import math

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2
from hypothesis import given
from hypothesis import strategies as st

from sluice.client.failure import CallFailed, from_rpc_error
from sluice.domain.errors import (
    AnswerTooLarge,
    Cancelled,
    Expired,
    InvalidRequest,
    NoEndpoint,
    Outranked,
    Reason,
    Saturated,
    ShuttingDown,
    SluiceError,
    UnknownModel,
    WorkerFailed,
    WorkerLost,
)
from sluice.domain.status import (
    DETAILS_KEY,
    PUSHBACK_KEY,
    RETRY_AFTER_KEY,
    duration,
    from_item_status,
    seconds_of,
    to_item_status,
    trailers,
)
from sluice.v1 import inference_service_pb2 as inference_pb2

MAKERS = {
    Reason.SATURATED: Saturated,
    Reason.ANSWER_TOO_LARGE: AnswerTooLarge,
    Reason.PRIORITY: Outranked,
    Reason.EXPIRED: Expired,
    Reason.NO_ENDPOINTS: NoEndpoint,
    Reason.SHUTTING_DOWN: ShuttingDown,
    Reason.UNKNOWN_MODEL: UnknownModel,
    Reason.INVALID_ARGUMENT: InvalidRequest,
    Reason.WORKER_FAILED: WorkerFailed,
    Reason.WORKER_LOST: WorkerLost,
    Reason.CANCELLED: Cancelled,
}
every_reason = pytest.mark.parametrize("reason", list(Reason))


def rpc_error(
    code: grpc.StatusCode, message: str, trailing: tuple[tuple[str, str | bytes], ...] = ()
) -> grpc.aio.AioRpcError:
    return grpc.aio.AioRpcError(code, grpc.aio.Metadata(), grpc.aio.Metadata(*trailing), message, None)


def failed_call(error: SluiceError) -> grpc.aio.AioRpcError:
    """The call's failure as a client sees it when the server ended it with `error`."""
    return rpc_error(error.code, error.message, trailers(error))


def same(one: SluiceError, other: SluiceError) -> bool:
    facts = [(type(e), e.code, e.reason, e.message, e.field, e.retry_after_s) for e in (one, other)]
    return facts[0] == facts[1]


@every_reason
@pytest.mark.parametrize("field", ["", "request.text"])
@pytest.mark.parametrize("retry_after_s", [None, 0.0, 0.25, 90.5])
def test_every_failure_comes_back_from_a_call_and_from_an_item_as_it_was_raised(
    reason: Reason, field: str, retry_after_s: float | None
) -> None:
    error = MAKERS[reason]("why it failed: «ß»", field=field, retry_after_s=retry_after_s)
    assert error.reason is reason
    assert same(from_rpc_error(failed_call(error)), error)
    data = to_item_status(error).SerializeToString()
    assert same(from_item_status(inference_pb2.ItemStatus.FromString(data)), error)


@every_reason
def test_a_failures_details_are_those_of_google_rpc(reason: Reason) -> None:
    error = MAKERS[reason]("why", field="text", retry_after_s=1.5)
    status = status_pb2.Status.FromString(dict(trailers(error))[DETAILS_KEY])
    info, bad, retry = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest(), error_details_pb2.RetryInfo()
    assert [d.Unpack(into) for d, into in zip(status.details, (info, bad, retry), strict=True)] == [True] * 3
    assert (status.code, status.message) == (error.code.value[0], "why")
    assert (info.domain, info.reason) == ("sluice", reason.value)
    assert [(v.field, v.description) for v in bad.field_violations] == [("text", "why")]
    assert seconds_of(retry.retry_delay) == 1.5


@pytest.mark.parametrize(("retry_after_s", "pushback"), [(None, "-1"), (0.0, "0"), (0.2, "200"), (3.0, "3000")])
@pytest.mark.parametrize("reason", [Reason.SATURATED, Reason.PRIORITY])
def test_what_is_shed_says_when_to_come_back_or_not_to(
    reason: Reason, retry_after_s: float | None, pushback: str
) -> None:
    sent = dict(trailers(MAKERS[reason]("full", retry_after_s=retry_after_s)))
    assert sent[PUSHBACK_KEY] == pushback
    # Whole seconds, and never sooner than gRPC's own.
    plain = sent.get(RETRY_AFTER_KEY)
    assert plain == (None if retry_after_s is None else str(math.ceil(retry_after_s)))


@pytest.mark.parametrize("reason", [one for one in Reason if one not in {Reason.SATURATED, Reason.PRIORITY}])
def test_only_what_is_shed_pushes_back(reason: Reason) -> None:
    assert PUSHBACK_KEY not in dict(trailers(MAKERS[reason]("why", retry_after_s=1.0)))


@pytest.mark.parametrize("kind", [Saturated, Outranked])
def test_what_is_shed_says_how_matters_stand(kind: type[Saturated]) -> None:
    error = kind("full", retry_after_s=0.2)
    error.metadata = {"level": "1,3", "theta": "0.531"}
    sent = dict(trailers(error))
    assert (sent["x-sluice-level"], sent["x-sluice-theta"]) == ("1,3", "0.531")
    assert dict(from_rpc_error(failed_call(error)).metadata) == error.metadata
    assert dict(from_item_status(to_item_status(error)).metadata) == error.metadata
    assert dict(kind("full").metadata) == {}


def test_an_item_with_a_reason_of_a_later_release_is_a_workers_failure() -> None:
    error = from_item_status(inference_pb2.ItemStatus(code=8, message="why", reason="rejected-by-moon"))
    assert isinstance(error, WorkerFailed)
    assert error.message == "why"


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (grpc.StatusCode.DEADLINE_EXCEEDED, Expired),
        (grpc.StatusCode.UNAVAILABLE, NoEndpoint),
        (grpc.StatusCode.UNIMPLEMENTED, CallFailed),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, CallFailed),
    ],
)
def test_a_failure_that_the_transport_made_keeps_its_words(code: grpc.StatusCode, kind: type[SluiceError]) -> None:
    error = from_rpc_error(rpc_error(code, "said the transport"))
    assert type(error) is kind
    assert "said the transport" in error.message


@given(st.floats(min_value=0, max_value=1e8))
def test_a_duration_is_exact_to_the_nanosecond(seconds: float) -> None:
    message = duration(seconds)
    assert 0 <= message.nanos < 1_000_000_000
    assert abs(seconds_of(message) - seconds) <= 1e-9 + seconds * 1e-15


def test_a_time_that_has_run_out_is_no_time() -> None:
    assert seconds_of(duration(-5.0)) == 0.0


@pytest.mark.parametrize("seconds", [1e12, 1e19, float("inf")])
def test_a_time_longer_than_a_duration_may_be_is_the_longest_one(seconds: float) -> None:
    # Protobuf's own limit, ten thousand years; what lies beyond it other languages refuse to read.
    assert seconds_of(duration(seconds)) == 315_576_000_000
