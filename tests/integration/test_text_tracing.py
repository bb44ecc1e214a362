"""The spans of a text: the router's and below it its worker's, with what it cost."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from services.router.api.inference_servicer import generate
from services.router.observability.tracing import RequestSpans
from services.router.requests.request import Request
from services.router.requests.sampling_params import SamplingParams
from sluice.domain.errors import InvalidRequest, SluiceError, WorkerFailed, WorkerLost
from sluice.runtime.config import TelemetryConfig
from sluice.runtime.tracing import Tracing, parse_traceparent
from sluice.v1 import inference_service_pb2 as inference_pb2
from sluice.worker.execution.generation_runner import ActiveGeneration
from sluice.worker.execution.generator import Chunk, FinishReason, GenerationRequest
from sluice.worker.server.tracing import TEXT_SPAN, WorkerSpans
from tests.integration.fake_scribe import MODEL, FakeScribe
from tests.integration.fake_worker import router_to, serving

SAMPLED = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
NOT_SAMPLED = SAMPLED[:-1] + "0"


class Traced:
    """A program's tracing, and the spans that it has ended."""

    def __init__(self) -> None:
        self.exporter = InMemorySpanExporter()
        self.tracing = Tracing(service="test", config=TelemetryConfig(), processor=SimpleSpanProcessor(self.exporter))

    def only(self) -> ReadableSpan:
        (span,) = self.exporter.get_finished_spans()
        return span


@pytest.fixture
def traced() -> Iterator[Traced]:
    made = Traced()
    yield made
    made.tracing.close()


def request(traceparent: str = SAMPLED) -> Request:
    return Request(
        model=MODEL, text="once upon", deadline=time.monotonic() + 20, request_id="mine", traceparent=traceparent
    )


async def test_the_router_s_span_says_what_was_written_by_whom_and_how_soon(traced: Traced) -> None:
    scribe, sent = FakeScribe(), list[inference_pb2.GenerateResponse]()

    async def write(data: bytes) -> None:
        sent.append(inference_pb2.GenerateResponse.FromString(data))

    async with serving(scribe) as address, router_to(address) as router:
        call = asyncio.create_task(
            generate(router.texts, RequestSpans(traced.tracing), request(), SamplingParams(), write)
        )
        number = await scribe.text("once upon")
        generation = scribe.texts[number]
        scribe.write(number, " a", tokens=1)
        scribe.write(number, " time", tokens=3, finish=1)
        await asyncio.wait_for(call, 10)
    span = traced.only()
    assert span.name == "sluice.v1.InferenceService/Generate"
    attributes = dict(span.attributes or {})
    assert attributes.pop("sluice.queue_ms") <= attributes.pop("sluice.first_token_ms")  # type: ignore[operator]
    assert attributes == {
        "rpc.system": "grpc",
        "rpc.service": "sluice.v1.InferenceService",
        "rpc.method": "Generate",
        "rpc.response.status_code": "OK",
        "gen_ai.operation.name": "text_completion",
        "gen_ai.request.model": MODEL,
        "gen_ai.response.model": "chat/full-fp32",
        "gen_ai.response.finish_reasons": ("stop",),
        "gen_ai.usage.input_tokens": 2,
        "gen_ai.usage.output_tokens": 3,
        "sluice.domain.enums": "full",
        "sluice.worker": "scribe",
        "sluice.priority": 0.5,
        "sluice.request_id": "mine",
    }
    # The worker's span will be below the router's, and the caller is told the trace.
    carried = parse_traceparent(generation.traceparent)
    assert carried is not None
    assert span.context is not None
    assert (carried.trace_id, carried.span_id) == (span.context.trace_id, span.context.span_id)
    assert sent[0].trace_id == SAMPLED.split("-")[1]


@pytest.mark.parametrize(
    ("error", "tokens", "code", "status"),
    [
        (InvalidRequest("too long", field="prompt"), 0, "INVALID_ARGUMENT", StatusCode.UNSET),
        (WorkerFailed("no number"), 1, "INTERNAL", StatusCode.ERROR),
    ],
)
async def test_a_text_that_failed_says_how(
    traced: Traced, error: SluiceError, tokens: int, code: str, status: StatusCode
) -> None:
    scribe = FakeScribe()

    async def write(data: bytes) -> None:
        del data

    async with serving(scribe) as address, router_to(address) as router:
        call = asyncio.create_task(
            generate(router.texts, RequestSpans(traced.tracing), request(), SamplingParams(), write)
        )
        number = await scribe.text("once upon")
        if tokens:
            scribe.write(number, "a", tokens=tokens)
        scribe.fail(number, error, tokens=tokens)
        with pytest.raises(type(error)):
            await asyncio.wait_for(call, 10)
    span = traced.only()
    assert (span.attributes or {})["rpc.response.status_code"] == code
    assert (span.attributes or {})["error.type"] == str(error.reason)
    assert span.status.status_code is status


def writing(traceparent: str) -> ActiveGeneration:
    return ActiveGeneration(
        number=1,
        variant_id="chat/full-fp32",
        prompt=GenerationRequest(text="once upon", max_new_tokens=9),
        owner=None,  # type: ignore[arg-type]
        taken_at=10.0,
        begun_at=11.0,
        traceparent=traceparent,
    )


def test_a_worker_s_span_lasts_from_the_text_s_coming_to_its_end(traced: Traced) -> None:
    last = Chunk(key=1, tokens=7, prompt_tokens=2, finish=FinishReason.LENGTH)
    WorkerSpans(traced.tracing, worker="w1").record_text(writing(SAMPLED), last, None, now=14.0)
    span = traced.only()
    assert span.name == TEXT_SPAN
    assert span.parent is not None
    assert f"{span.parent.span_id:016x}" == SAMPLED.split("-")[2]
    assert span.start_time is not None
    assert span.end_time is not None
    assert span.end_time - span.start_time == pytest.approx(4e9, rel=0.01)
    attributes = dict(span.attributes or {})
    assert (attributes["gen_ai.usage.input_tokens"], attributes["gen_ai.usage.output_tokens"]) == (2, 7)
    assert attributes["gen_ai.response.finish_reasons"] == ("length",)
    assert attributes["sluice.wait_ms"] == 1000.0


def test_what_is_not_sampled_leaves_no_span_and_a_failure_its_reason(traced: Traced) -> None:
    spans = WorkerSpans(traced.tracing, worker="w1")
    last = Chunk(key=1)
    spans.record_text(writing(NOT_SAMPLED), last, None, now=14.0)
    spans.record_text(writing(""), last, None, now=14.0)
    spans.record_text(writing(SAMPLED), last, WorkerLost("gone"), now=14.0)
    span = traced.only()
    assert (span.attributes or {})["error.type"] == "worker-lost"
    assert span.status.status_code is StatusCode.ERROR
