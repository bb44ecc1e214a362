"""A worker's spans: one for each batch, and below each traced request one for its part in the batch."""

from __future__ import annotations

import time

from opentelemetry.trace import SpanKind, Status, StatusCode

from sluice.errors import SluiceError
from sluice.telemetry import Tracing
from sluice.worker.work import Done, Work

BATCH_SPAN = "sluice.v1.WorkerService/Execute"
ITEM_SPAN = "execute"


class BatchSpans:
    """Writes spans after the fact, from a batch's own times, so that nothing is done while it is computed."""

    def __init__(self, tracing: Tracing, *, worker: str) -> None:
        self._tracing = tracing
        self._worker = worker

    def record(self, number: int, work: Work, done: Done) -> None:
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
                "sluice.variant": work.variant_id,
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
                    "sluice.variant": work.variant_id,
                    "sluice.worker": self._worker,
                    "sluice.batch.id": number,
                    "sluice.batch.size": len(work.items),
                },
            )
            output = done.outputs.get(item.id)
            if isinstance(output, SluiceError):
                span.set_attribute("error.type", str(output.reason))
                span.set_status(Status(StatusCode.ERROR, output.message))
            span.end(ended_ns)
