"""A failed call as the error that the mesh meant: rebuilt from the status details it sent."""

from __future__ import annotations

from typing import Any

import grpc
from google.rpc import error_details_pb2, status_pb2

from sluice.domain.errors import Expired, NoEndpoint, Reason, SluiceError
from sluice.domain.status import DETAILS_KEY, from_item_status, seconds_of
from sluice.v1 import inference_service_pb2 as inference_pb2


class CallFailed(SluiceError):
    """The call failed in a way that the mesh does not speak of; `status` is what gRPC said."""

    def __init__(self, status: grpc.StatusCode, message: str) -> None:
        super().__init__(f"{status.name}: {message}")
        self.status = status


def from_rpc_error(error: grpc.RpcError) -> SluiceError:
    """The error behind `error`, with its reason, field and time to come back."""
    trailing: Any = error.trailing_metadata() or ()
    for key, value in trailing:
        if key == DETAILS_KEY and isinstance(value, bytes):
            return _from_details(value)
    code = error.code()
    message = error.details() or ""
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return Expired(message)
    if code is grpc.StatusCode.UNAVAILABLE:
        return NoEndpoint(f"the router cannot be reached: {message}")
    return CallFailed(code, message)


def _from_details(data: bytes) -> SluiceError:
    status = status_pb2.Status.FromString(data)
    item = inference_pb2.ItemStatus(code=status.code, message=status.message, reason=Reason.WORKER_FAILED)
    info, bad, retry = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest(), error_details_pb2.RetryInfo()
    for detail in status.details:
        if detail.Unpack(info):
            item.reason = info.reason
            item.metadata.update(info.metadata)
        elif detail.Unpack(bad) and bad.field_violations:
            item.field = bad.field_violations[0].field
        elif detail.Unpack(retry):
            item.retry_after.CopyFrom(retry.retry_delay)
    error = from_item_status(item)
    error.retry_after_s = seconds_of(item.retry_after) if item.HasField("retry_after") else None
    return error
