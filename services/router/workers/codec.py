"""A batch's wire form."""

from __future__ import annotations

from services.router.queueing.batch import OpenBatch
from sluice.domain.status import duration
from sluice.v1 import worker_service_pb2 as worker_pb2


def batch_to_proto(batch: OpenBatch, traceparent: str, now: float) -> worker_pb2.Batch:
    """What the worker is sent: each item with the time that it has left at `now`."""
    message = worker_pb2.Batch(id=batch.id, variant=batch.variant_id, traceparent=traceparent)
    add = message.items.add
    for number, ticket in batch.tickets.items():
        request = ticket.request
        add(
            id=number,
            text=request.text,
            timeout=duration(request.deadline - now),
            top_k=request.top_k,
            truncate=request.truncate,
            traceparent=request.traceparent,
        )
    return message
