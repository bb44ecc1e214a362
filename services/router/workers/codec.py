"""A batch's wire form."""

from __future__ import annotations

from services.router.queueing.batch import InFlightBatch
from services.router.requests.generation import PendingGeneration
from sluice.domain.status import duration
from sluice.v1 import worker_service_pb2 as worker_pb2

# A text's wire form between the router and a worker.


# What a Generation takes beside its prompt and stop strings, its traceparent and variant included, and each of those.
FIXED_BYTES = 768
STOP_BYTES = 8


def size_of(ticket: PendingGeneration) -> int:
    """No less than the bytes of the message that the worker is sent."""
    return ticket.text_bytes + FIXED_BYTES + sum(STOP_BYTES + len(one.encode()) for one in ticket.sampling.stop)


def generation_to_proto(ticket: PendingGeneration, variant_id: str, now: float) -> worker_pb2.Generation:
    """What the worker is sent: the text with the time that it has left at `now`."""
    request, sampling = ticket.request, ticket.sampling
    return worker_pb2.Generation(
        id=ticket.id,
        variant=variant_id,
        prompt=request.text,
        timeout=duration(request.deadline - now),
        max_new_tokens=sampling.max_new_tokens,
        temperature=sampling.temperature,
        top_p=sampling.top_p,
        top_k=sampling.top_k,
        seed=sampling.seed,
        stop=sampling.stop,
        traceparent=request.traceparent,
    )


def batch_to_proto(batch: InFlightBatch, traceparent: str, now: float) -> worker_pb2.Batch:
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
