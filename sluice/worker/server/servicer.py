"""WorkerService: translates between the wire, the sessions of routers, and the catalog."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from typing import Any

import grpc

from sluice.control.identity import DEFAULT_MESH, MESH_METADATA, mesh_named
from sluice.domain.enums import Tier
from sluice.domain.errors import InvalidRequest, NoEndpoint, Saturated, SluiceError
from sluice.domain.status import abort, abort_with
from sluice.domain.variant import check_model, to_proto
from sluice.runtime.logging import LimitedLog
from sluice.runtime.message_size import MAX_BYTES, limit_of
from sluice.transport.message_handlers import MessageHandlers
from sluice.v1 import worker_service_pb2 as worker_pb2
from sluice.v1 import worker_service_pb2_grpc as worker_grpc
from sluice.worker.execution.batch import BatchOutcome, WorkerBatch
from sluice.worker.executor import DeviceExecutor
from sluice.worker.models.registry import AlreadyHeld, ModelRegistry, UnknownCheckpoint
from sluice.worker.server.codec import batch_from_proto, result_to_proto, welcome_to_proto
from sluice.worker.server.generation_stream import GenerationSession
from sluice.worker.server.stream import BatchSession, RouterStream, SendQueue
from sluice.worker.server.tracing import WorkerSpans

SERVICE = "sluice.v1.WorkerService"
LAST_WRITE_S = 1.0
# More than a credit takes, and the frame of what it travels with.
CREDIT_BYTES = 64
Context = grpc.aio.ServicerContext[Any, Any]

limited = LimitedLog(logging.getLogger(__name__))


class WorkerServicer(worker_grpc.WorkerServiceServicer):
    """One worker's face.

    `credits_` batches of at most `max_items` are granted to each router, and `lookahead` texts that wait for memory.
    Routers of other meshes than `mesh` are refused; `boot` names the start of this process.
    `max_message_bytes` is the largest message that its server takes; 0: that of any gRPC library.
    """

    def __init__(
        self,
        *,
        worker: str,
        catalog: ModelRegistry,
        device: DeviceExecutor,
        spans: WorkerSpans,
        credits_: int,
        max_items: int,
        lookahead: int = 64,
        boot: str = "",
        mesh: str = DEFAULT_MESH,
        max_message_bytes: int = 0,
    ) -> None:
        self._worker = worker
        self._boot = boot
        self._mesh = mesh
        self._max_message_bytes = max_message_bytes
        self._catalog = catalog
        self._device = device
        self._spans = spans
        self._credits = credits_
        self._max_items = max_items
        self._lookahead = lookahead
        self._streams: set[RouterStream] = set()
        self.draining = False

    def handler(self) -> grpc.GenericRpcHandler[Any, Any]:
        """What the server is given."""
        handlers = MessageHandlers(SERVICE)
        methods = {
            "Execute": handlers.stream_stream(worker_pb2.ExecuteRequest, self.Execute),
            "DescribeModels": handlers.unary_unary(worker_pb2.DescribeModelsRequest, self.DescribeModels),
            "LoadModel": handlers.unary_unary(worker_pb2.LoadModelRequest, self.LoadModel),
            "UnloadModel": handlers.unary_unary(worker_pb2.UnloadModelRequest, self.UnloadModel),
        }
        return handlers.handler(methods)

    async def Execute(self, request_iterator: AsyncIterator[worker_pb2.ExecuteRequest], context: Context) -> None:
        """Serve one router until it half-closes or goes away."""
        theirs = mesh_named(next((str(value) for key, value in _metadata(context) if key == MESH_METADATA), ""))
        if theirs != self._mesh:
            why = f"this worker belongs to mesh '{self._mesh}', and the router to mesh '{theirs}'"
            limited.warning("A router of another mesh was refused.", peer=context.peer(), mesh=theirs, own=self._mesh)
            await abort_with(context, grpc.StatusCode.FAILED_PRECONDITION, why)
        if not self._catalog.ready or self.draining:
            await abort(context, NoEndpoint("this worker serves nothing just now"))
        limit = limit_of(_metadata(context))
        stream = self._open_stream(limit)
        outbox = stream.outbox
        forget = self._catalog.watch(lambda: outbox.put(self._card(limit)))
        first = self._card(limit)
        first.credit.CopyFrom(
            worker_pb2.Credit(batches=self._credits, max_items=self._max_items, generations=self._lookahead)
        )
        outbox.put(first)
        writer = asyncio.create_task(outbox.write_all(context.write))
        # A router that is gone fails the write, and maybe cancels this call before the task is awaited.
        writer.add_done_callback(_retrieve)
        broken: SluiceError | None = None
        try:
            await self._read(request_iterator, stream)
            await stream.finished()
        except SluiceError as error:
            broken = error
        finally:
            forget()
            stream.abandon()
            self._streams.discard(stream)
            outbox.close()
            await asyncio.wait({writer}, timeout=LAST_WRITE_S)
            writer.cancel()
            await asyncio.gather(writer, return_exceptions=True)
        if broken is not None:
            await abort(context, broken)

    async def DescribeModels(
        self, request: worker_pb2.DescribeModelsRequest, context: Context
    ) -> worker_pb2.DescribeModelsResponse:
        """List what is held."""
        del request, context
        return worker_pb2.DescribeModelsResponse(worker=self._card(MAX_BYTES).welcome)

    async def LoadModel(self, request: worker_pb2.LoadModelRequest, context: Context) -> worker_pb2.LoadModelResponse:
        """Serve a checkpoint."""
        try:
            variant = await self._catalog.load(
                model=_model(request.model),
                tier=_tier(request.tier),
                checkpoint=request.checkpoint,
                precision=request.precision,
            )
        except UnknownCheckpoint as error:
            await abort_with(context, grpc.StatusCode.NOT_FOUND, error.message)
        except AlreadyHeld as error:
            await abort_with(context, grpc.StatusCode.ALREADY_EXISTS, error.message)
        except SluiceError as error:
            await abort(context, error)
        return worker_pb2.LoadModelResponse(variant=to_proto(variant))

    async def UnloadModel(
        self, request: worker_pb2.UnloadModelRequest, context: Context
    ) -> worker_pb2.UnloadModelResponse:
        """Drop a variant."""
        try:
            await self._catalog.unload(request.variant)
        except UnknownCheckpoint as error:
            await abort_with(context, grpc.StatusCode.NOT_FOUND, error.message)
        return worker_pb2.UnloadModelResponse()

    def open_items(self) -> int:
        """Items and texts taken from all routers and not answered."""
        return sum(stream.open_items for stream in self._streams)

    def stop_taking(self) -> None:
        """Grant nothing more, and tell the routers."""
        if not self.draining:
            self.draining = True
            for stream in self._streams:
                stream.outbox.put(self._card(stream.max_message_bytes))

    async def drain(self) -> None:
        """Take nothing more, and wait until all batches and texts that were taken are done and sent."""
        self.stop_taking()
        for stream in list(self._streams):
            await stream.finished()

    def _open_stream(self, limit: int) -> RouterStream:
        outbox = SendQueue(max_message_bytes=limit)
        batches = BatchSession(
            self._device,
            credits_=self._credits,
            send=lambda number, work, done: outbox.put(self._result(number, work, done, limit)),
        )
        texts = GenerationSession(
            self._catalog,
            credits_=self._lookahead,
            send=lambda pieces, begun: outbox.put_pieces(pieces, self._credit(generations=begun)),
            spans=self._spans,
            failed=self._device.probe,
        )
        stream = RouterStream(batches, texts, outbox, max_message_bytes=limit)
        self._streams.add(stream)
        return stream

    async def _read(self, requests: AsyncIterator[worker_pb2.ExecuteRequest], stream: RouterStream) -> None:
        async for request in requests:
            if request.HasField("batch"):
                batch = request.batch
                if not 1 <= len(batch.items) <= self._max_items:
                    raise Saturated(
                        f"batch {batch.id} has {len(batch.items)} items; 1 to {self._max_items} are granted"
                    )
                stream.batches.take(batch.id, batch_from_proto(batch, now=time.monotonic()))
            elif request.HasField("generation"):
                stream.texts.take(request.generation, draining=self.draining)
            elif request.HasField("cancel"):
                stream.cancel(request.cancel.ids)

    def _result(self, number: int, work: WorkerBatch, done: BatchOutcome, limit: int) -> worker_pb2.ExecuteResponse:
        self._spans.record_batch(number, work, done)
        response = result_to_proto(number, done, most=limit - CREDIT_BYTES)
        credit = self._credit(batches=1)
        if credit is not None:
            response.credit.CopyFrom(credit)
        return response

    def _credit(self, *, batches: int = 0, generations: int = 0) -> worker_pb2.Credit | None:
        """What is granted now; None if that is nothing."""
        if self.draining or not (batches or generations):
            return None
        return worker_pb2.Credit(batches=batches, max_items=self._max_items, generations=generations)

    def _card(self, limit: int) -> worker_pb2.ExecuteResponse:
        welcome = welcome_to_proto(
            self._worker,
            self._catalog.variants(),
            draining=self.draining,
            boot=self._boot,
            mesh=self._mesh,
            max_message_bytes=self._max_message_bytes,
            most=limit - CREDIT_BYTES,
        )
        return worker_pb2.ExecuteResponse(welcome=welcome)


def _model(name: str) -> str:
    try:
        check_model(name)
    except ValueError as error:
        raise InvalidRequest(str(error), field="model") from None
    return name


def _metadata(context: Context) -> tuple[tuple[str, str | bytes], ...]:
    return tuple(context.invocation_metadata() or ())


def _tier(number: int) -> Tier:
    if number not in {Tier.FULL.value, Tier.LIGHT.value, Tier.QUANTIZED.value}:
        raise InvalidRequest(f"{number} is no tier in which a model can serve", field="tier")
    return Tier(number)


def _retrieve(task: asyncio.Task[None]) -> None:
    """Take what a task ended with, which nobody else may come to do."""
    if not task.cancelled():
        task.exception()
