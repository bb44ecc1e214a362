"""A line over Infer: a call for each attempt, with the deadline and the trailers of a call."""

from __future__ import annotations

import asyncio
import time

import grpc

from sluice.client.failure import from_rpc_error
from sluice.load.line import Attempt, Sink
from sluice.load.retry import Failure
from sluice.v1 import inference_service_pb2 as inference_pb2
from sluice.v1 import inference_service_pb2_grpc as inference_grpc


class UnaryLine:
    """Calls over one connection. Its channel finds its own way back, so the line is always up."""

    def __init__(self, channel: grpc.aio.Channel, sink: Sink) -> None:
        self.up = True
        self._stub = inference_grpc.InferenceServiceStub(channel)
        self._sink = sink
        self._calls: dict[int, asyncio.Task[None]] = {}

    def put(self, number: int, attempt: Attempt) -> None:
        """Begin a call."""
        self._calls[number] = asyncio.create_task(self._call(number, attempt))

    def cancel(self, number: int) -> None:
        """Nobody wants the answer any more."""
        call = self._calls.get(number)
        if call is not None:
            call.cancel()

    def flush(self) -> None:
        """Calls are sent as they are put."""

    async def run(self) -> None:
        """Wait until cancelled; then no call is left."""
        try:
            await asyncio.Event().wait()
        finally:
            calls = list(self._calls.values())
            for call in calls:
                call.cancel()
            await asyncio.gather(*calls, return_exceptions=True)

    async def _call(self, number: int, attempt: Attempt) -> None:
        request = attempt.request
        if attempt.conversation_id:
            request = inference_pb2.InferRequest()
            request.CopyFrom(attempt.request)
            request.conversation_id = attempt.conversation_id
        try:
            answer = await self._stub.Infer(request, timeout=max(0.0, attempt.expires_at - time.monotonic()))
        except grpc.aio.AioRpcError as error:
            told = from_rpc_error(error)
            failure = Failure(code=error.code().name, reason=told.reason, retry_after_s=told.retry_after_s)
            self._sink.failed(number, failure)
        else:
            self._sink.answered(number, answer)
        finally:
            del self._calls[number]
