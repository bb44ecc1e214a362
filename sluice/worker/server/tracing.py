"""A worker's spans: one for each batch, below each traced request one for its part in the batch, one for each text."""

from __future__ import annotations

import time

from opentelemetry.trace import Span, SpanKind, Status, StatusCode

from sluice.domain.errors import SluiceError
from sluice.runtime.tracing import Tracing
from sluice.worker.execution.batch import BatchOutcome, WorkerBatch
from sluice.worker.execution.generation_runner import ActiveGeneration
from sluice.worker.execution.generator import Chunk

BATCH_SPAN = "sluice.v1.WorkerService/Execute"
ITEM_SPAN = "execute"
TEXT_SPAN = "generate"


class WorkerSpans:
    """Writes spans after the fact, from a batch's or text's own times, so that nothing is done while it is computed."""

    def __init__(self, tracing: Tracing, *, worker: str) -> None:
        self._tracing = tracing
        self._worker = worker

    def record_batch(self, number: int, work: WorkerBatch, done: BatchOutcome) -> None:
        """Record a batch that has just ended. Costs nothing when none of its requests is traced."""
        if not work.traceparent or not self._tracing.enabled:
            return
        ended_ns = time.time_ns()
        begun_ns = ended_ns - int(done.compute_s * 1e9)
        taken_ns = begun_ns - int(done.wait_s * 1e9)
        traced = [item for item in work.items if self._tracing.is_sampled(item.traceparent)]
        batch = self._tracing.start(
            BATCH_SPAN,
            kind=SpanKind.SERVER,
            traceparent=work.traceparent,
            links=[item.traceparent for item in traced],
            start_time_ns=taken_ns,
            attributes={
                "rpc.system": "grpc",
                "rpc.service": "sluice.v1.WorkerService",
                "rpc.method": "Execute",
                "sluice.batch.id": number,
                "sluice.batch.size": len(work.items),
                "sluice.domain.variant": work.variant_id,
                "sluice.worker": self._worker,
                "sluice.wait_ms": done.wait_s * 1000,
                "sluice.compute_ms": done.compute_s * 1000,
            },
        )
        batch.end(ended_ns)
        for item in traced:
            span = self._tracing.start(
                ITEM_SPAN,
                kind=SpanKind.SERVER,
                traceparent=item.traceparent,
                start_time_ns=begun_ns,
                attributes={
                    "sluice.domain.variant": work.variant_id,
                    "sluice.worker": self._worker,
                    "sluice.batch.id": number,
                    "sluice.batch.size": len(work.items),
                },
            )
            output = done.outputs.get(item.id)
            if isinstance(output, SluiceError):
                _fail(span, output)
            span.end(ended_ns)

    def record_text(self, writing: ActiveGeneration, last: Chunk, error: SluiceError | None, *, now: float) -> None:
        """Record a text that has just ended with `last`, or with `error`; `now` is of the clock of its times."""
        if not writing.traceparent or not self._tracing.is_sampled(writing.traceparent):
            return
        ended_ns = time.time_ns()
        begun_at = writing.begun_at if writing.begun_at is not None else now
        span = self._tracing.start(
            TEXT_SPAN,
            kind=SpanKind.SERVER,
            traceparent=writing.traceparent,
            start_time_ns=ended_ns - int((now - writing.taken_at) * 1e9),
            attributes={
                "gen_ai.operation.name": "text_completion",
                "gen_ai.usage.input_tokens": last.prompt_tokens,
                "gen_ai.usage.output_tokens": last.tokens,
                "sluice.domain.variant": writing.variant_id,
                "sluice.worker": self._worker,
                "sluice.wait_ms": (begun_at - writing.taken_at) * 1000,
            },
        )
        if last.finish is not None:
            span.set_attribute("gen_ai.response.finish_reasons", [last.finish.name.lower()])
        if error is not None:
            _fail(span, error)
        span.end(ended_ns)


def _fail(span: Span, error: SluiceError) -> None:
    span.set_attribute("error.type", str(error.reason))
    span.set_status(Status(StatusCode.ERROR, error.message))
