"""A router that a test scripts: what the clients are tried against."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager

from sluice.v1 import inference_service_pb2_grpc as inference_grpc
from tests.unit.loopback import loopback


def serving(router: inference_grpc.InferenceServiceServicer) -> AbstractAsyncContextManager[str]:
    """The address at which `router` is asked."""
    return loopback(inference_grpc.add_InferenceServiceServicer_to_server, router)
