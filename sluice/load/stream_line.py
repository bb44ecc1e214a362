"""A line over InferStream: what is put between two flushes travels as one message."""

from __future__ import annotations

import asyncio
import contextlib
import time

import grpc
from google.rpc import code_pb2

from sluice.domain.status import seconds_of
from sluice.load.line import BROKEN, RECONNECT_S, Attempt, Sink
from sluice.load.retry import Failure
from sluice.v1 import inference_service_pb2 as inference_pb2
from sluice.v1 import inference_service_pb2_grpc as inference_grpc

Call = grpc.aio.StreamStreamCall[inference_pb2.InferStreamRequest, inference_pb2.InferStreamResponse]
CODES: dict[int, str] = {number: name for name, number in code_pb2.Code.items()}


class StreamLine:
    """One stream. A router that does not read holds up the writer, never the one who puts."""

    def __init__(self, channel: grpc.aio.Channel, sink: Sink) -> None:
        self.up = False
        self._stub = inference_grpc.InferenceServiceStub(channel)
        self._sink = sink
        self._waiting: dict[int, Attempt] = {}
        self._unwanted: list[int] = []
        self._has_items = asyncio.Event()

    def put(self, number: int, attempt: Attempt) -> None:
        """Send an attempt with the next flush."""
        self._waiting[number] = attempt

    def cancel(self, number: int) -> None:
        """Nobody wants the answer any more. What was not sent yet never is."""
        if self._waiting.pop(number, None) is None:
            self._unwanted.append(number)

    def flush(self) -> None:
        """Send what was put."""
        if self._waiting or self._unwanted:
            self._has_items.set()

    async def run(self) -> None:
        """Serve until cancelled, dialling again for ever."""
        while True:
            failure = await self._one_stream()
            self.up = False
            self._waiting.clear()
            self._unwanted.clear()
            self._sink.broke(self, failure)
            await asyncio.sleep(RECONNECT_S)

    async def _one_stream(self) -> Failure:
        call: Call = self._stub.InferStream()
        writer = asyncio.create_task(self._write(call))
        self.up = True
        try:
            async for response in call:
                for outcome in response.outcomes:
                    if outcome.HasField("response"):
                        self._sink.answered(outcome.id, outcome.response)
                    else:
                        self._sink.failed(outcome.id, _failure(outcome.status))
        except grpc.aio.AioRpcError as error:
            return Failure(code=error.code().name, reason="broken")
        finally:
            writer.cancel()
            call.cancel()
            await asyncio.gather(writer, return_exceptions=True)
        return Failure(code=BROKEN, reason="broken")

    async def _write(self, call: Call) -> None:
        # The reader says why a stream has ended.
        with contextlib.suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
            while True:
                await self._has_items.wait()
                self._has_items.clear()
                await call.write(self._bundle(time.monotonic()))

    def _bundle(self, now: float) -> inference_pb2.InferStreamRequest:
        message = inference_pb2.InferStreamRequest(cancelled_ids=self._unwanted)
        for number, (request, expires_at, conversation_id) in self._waiting.items():
            item = message.items.add(id=number, request=request)
            left_ns = max(0, int((expires_at - now) * 1e9))
            item.timeout.seconds, item.timeout.nanos = divmod(left_ns, 1_000_000_000)
            if conversation_id:
                item.request.conversation_id = conversation_id
        self._waiting.clear()
        self._unwanted.clear()
        return message


def _failure(status: inference_pb2.ItemStatus) -> Failure:
    wait_s = seconds_of(status.retry_after) if status.HasField("retry_after") else None
    return Failure(code=CODES.get(status.code, str(status.code)), reason=status.reason, retry_after_s=wait_s)
