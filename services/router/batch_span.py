"""The span of a batch: one send to one worker, linked to the requests that travel in it."""

from __future__ import annotations

from opentelemetry.trace import Span, SpanKind

from services.router.queueing.batch import OpenBatch
from sluice.runtime.tracing import Tracing

SPAN_NAME = "sluice.v1.WorkerService/Execute"


def start_batch_span(tracing: Tracing, batch: OpenBatch, worker: str) -> Span | None:
    """A span in a trace of its own, or None when no request in the batch is traced.

    A batch has as many parents as requests, so it is linked to them and is nobody's child.
    """
    links = [
        ticket.request.traceparent
        for ticket in batch.tickets.values()
        if tracing.is_sampled(ticket.request.traceparent)
    ]
    if not links:
        return None
    attributes: dict[str, str | int] = {
        "rpc.system": "grpc",
        "rpc.service": "sluice.v1.WorkerService",
        "rpc.method": "Execute",
        "sluice.batch.id": batch.id,
        "sluice.batch.size": len(batch.tickets),
        "sluice.domain.variant": batch.variant_id,
        "sluice.worker": worker,
    }
    return tracing.start(SPAN_NAME, kind=SpanKind.CLIENT, attributes=attributes, links=links)
