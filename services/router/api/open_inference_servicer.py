"""The Open Inference Protocol's face of the router: the same core, spoken to by stock clients.

ModelInfer answers all texts of a request or fails with the first failure's status: the protocol has no place for a
status of one row.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any

import grpc
from google.protobuf.message import Message

from services.router.api.inference_servicer import refuse
from services.router.api.open_inference_codec import (
    INPUT,
    KNOWN,
    LABEL,
    OUTPUTS,
    SCORE,
    Parameters,
    read_parameters,
    read_texts,
    write_outputs,
)
from services.router.observability.tracing import RequestSpans, traceparent_in
from services.router.requests.caller import Bundle, Caller
from services.router.requests.request import InferResult, Request
from services.router.requests.validation import (
    MAX_MODEL_BYTES,
    check_model_infer,
    check_outputs,
    check_size,
    deadline_after,
)
from services.router.router import Router
from sluice import __version__
from sluice.domain.enums import Task
from sluice.domain.errors import InvalidRequest, SluiceError, UnknownModel
from sluice.domain.status import abort
from sluice.open_inference import grpc_service_pb2 as oip_pb2
from sluice.runtime.message_size import checked
from sluice.transport.message_handlers import MessageHandlers, parse

SERVICE = "inference.GRPCInferenceService"
Context = grpc.aio.ServicerContext[Any, Any]


class OpenInferenceServicer:
    """Translates between the protocol and `Router`."""

    def __init__(self, router: Router, spans: RequestSpans) -> None:
        self._router = router
        self._spans = spans

    def handler(self) -> grpc.GenericRpcHandler[Any, Any]:
        """What the server is given. Bytes stay bytes until we read them."""
        handlers = MessageHandlers(SERVICE)
        questions: dict[str, tuple[Any, Any]] = {
            "ServerLive": (self.server_live, oip_pb2.ServerLiveRequest),
            "ServerReady": (self.server_ready, oip_pb2.ServerReadyRequest),
            "ModelReady": (self.model_ready, oip_pb2.ModelReadyRequest),
            "ServerMetadata": (self.server_metadata, oip_pb2.ServerMetadataRequest),
            "ModelMetadata": (self.model_metadata, oip_pb2.ModelMetadataRequest),
        }
        methods = {name: handlers.unary_unary(kind, answer) for name, (answer, kind) in questions.items()}
        methods["ModelInfer"] = grpc.unary_unary_rpc_method_handler(self.model_infer)
        return handlers.handler(methods)

    async def server_live(self, request: oip_pb2.ServerLiveRequest, context: Context) -> Message:
        """An answer is life."""
        del request, context
        return oip_pb2.ServerLiveResponse(live=True)

    async def server_ready(self, request: oip_pb2.ServerReadyRequest, context: Context) -> Message:
        """Whether requests are welcome."""
        del request, context
        return oip_pb2.ServerReadyResponse(ready=self._router.ready)

    async def model_ready(self, request: oip_pb2.ModelReadyRequest, context: Context) -> Message:
        """Whether any tier answers for the model; one that only generates cannot be asked by this protocol."""
        await _check_name(request.name, context)
        return oip_pb2.ModelReadyResponse(ready=request.name in self._router.view.serving)

    async def server_metadata(self, request: oip_pb2.ServerMetadataRequest, context: Context) -> Message:
        """The server's name."""
        del request, context
        return oip_pb2.ServerMetadataResponse(name="sluice", version=__version__, extensions=KNOWN)

    async def model_metadata(self, request: oip_pb2.ModelMetadataRequest, context: Context) -> Message:
        """The model's tensors and variants."""
        await _check_name(request.name, context)
        known = self._router.models().get(request.name, ())
        variants = [one for one in known if one.task is not Task.TEXT_GENERATION]
        if not variants:
            await abort(context, UnknownModel(f"no worker serves a model named '{request.name}'", field="name"))
        metadata = oip_pb2.ModelMetadataResponse.TensorMetadata
        return oip_pb2.ModelMetadataResponse(
            name=request.name,
            versions=[variant.id for variant in variants],
            platform="sluice",
            inputs=[metadata(name=INPUT, datatype="BYTES", shape=[-1])],
            outputs=[
                metadata(name=LABEL, datatype="BYTES", shape=[-1]),
                metadata(name=SCORE, datatype="FP32", shape=[-1]),
            ],
            properties={one.id: f"{one.tier.label} {one.device} {one.precision}" for one in variants},
        )

    async def model_infer(self, data: bytes, context: Context) -> bytes:
        """Answer the texts of one request."""
        try:
            message = parse(oip_pb2.ModelInferRequest, data, field="inputs")
            check_model_infer(message)
            parameters = read_parameters(message.parameters) if message.parameters else Parameters()
            texts = read_texts(message)
            caller = self._router.callers.resolve(context)
            bundle = Bundle() if len(texts) > 1 else None
            refusal = self._router.door.refusal(
                priority=parameters.priority,
                caller=caller,
                model=message.model_name,
                minimum_tier=parameters.minimum_tier,
                bundle=bundle,
                texts=len(texts),
            )
            if refusal is not None:
                self._spans.refused("ModelInfer", context, refusal)
                await refuse(context, refusal)
            wanted = check_outputs((output.name for output in message.outputs), OUTPUTS)
        except SluiceError as error:
            self._router.door.unreadable(error.reason)
            self._spans.refused("ModelInfer", context, error)
            await abort(context, error)
        try:
            number, message_bytes = message.id, len(data) // len(texts)
            requests = self._to_requests(
                message, parameters, texts, context, caller=caller, bundle=bundle, message_bytes=message_bytes
            )
            # The transport holds the bytes until the call ends; nobody needs to hold the message as well.
            del message, texts
            answers = [await self._answer(requests[0])] if len(requests) == 1 else await self._answer_all(requests)
            return checked(_to_response(number, answers, wanted).SerializeToString(), context.invocation_metadata)
        except SluiceError as error:
            await abort(context, error)

    def _to_requests(
        self,
        message: oip_pb2.ModelInferRequest,
        parameters: Parameters,
        texts: Sequence[str],
        context: Context,
        *,
        caller: Caller,
        bundle: Bundle | None,
        message_bytes: int,
    ) -> Sequence[Request]:
        limits_s = [limit for limit in (context.time_remaining(), parameters.timeout_s) if limit is not None]
        timeout_s = min(limits_s, default=self._router.config.default_timeout_s)
        deadline = deadline_after(timeout_s, time.monotonic())
        traceparent = traceparent_in(context)
        return [
            Request(
                model=message.model_name,
                text=text,
                deadline=deadline,
                priority=parameters.priority,
                query_class=parameters.query_class,
                minimum_tier=parameters.minimum_tier,
                truncate=parameters.truncate,
                request_id=message.id,
                traceparent=traceparent,
                caller=caller,
                bundle=bundle,
                message_bytes=message_bytes,
            )
            for text in texts
        ]

    async def _answer_all(self, requests: Sequence[Request]) -> Sequence[InferResult]:
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(self._answer(request)) for request in requests]
        except* SluiceError as errors:
            raise _first(errors) from None
        return [task.result() for task in tasks]

    async def _answer(self, request: Request) -> InferResult:
        request.traceparent, span = self._spans.begin("ModelInfer", request.traceparent)
        with self._spans.recording(span, request) as record:
            answer = await self._router.infer(request)
            record(answer)
        if not answer.result.HasField("classification"):
            raise InvalidRequest(f"model '{request.model}' does not classify", field="model_name")
        return answer


async def _check_name(name: str, context: Context) -> None:
    try:
        check_size(name, MAX_MODEL_BYTES, "name")
    except InvalidRequest as error:
        await abort(context, error)


def _to_response(number: str, answers: Sequence[InferResult], wanted: Sequence[str]) -> oip_pb2.ModelInferResponse:
    first = answers[0]
    response = oip_pb2.ModelInferResponse(model_name=first.variant.model, model_version=first.variant.id, id=number)
    parameters = response.parameters
    parameters["tier"].string_param = first.variant.tier.label
    parameters["worker"].string_param = first.worker
    parameters["queue_ms"].double_param = first.queue_s * 1000
    parameters["compute_ms"].double_param = first.compute_s * 1000
    if first.degraded_from:
        parameters["degraded_from"].string_param = first.degraded_from.label
    if first.trace_id:
        parameters["trace_id"].string_param = first.trace_id
    results = [answer.result.classification for answer in answers]
    write_outputs(response, [one.label for one in results], [one.score for one in results], wanted=wanted)
    return response


def _first(errors: BaseExceptionGroup[SluiceError]) -> SluiceError:
    found: BaseException = errors
    while isinstance(found, BaseExceptionGroup):
        found = found.exceptions[0]
    if not isinstance(found, SluiceError):
        raise found
    return found
