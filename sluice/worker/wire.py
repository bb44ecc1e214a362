"""Between WorkerService's messages and a worker's own nouns. No decisions here."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from sluice.errors import SluiceError
from sluice.status import duration, seconds_of, to_item_status
from sluice.v1 import worker_service_pb2 as worker_pb2
from sluice.variant import Variant, to_proto
from sluice.worker.backend import Classified, Embedded, Item
from sluice.worker.work import Done, Work, WorkItem

NO_DEADLINE = float("inf")


def to_work(batch: worker_pb2.Batch, *, now: float) -> Work:
    """The batch as it is executed; its deadlines count from `now`."""
    items = [
        WorkItem(
            message.id,
            Item(message.text, message.top_k, message.truncate),
            now + seconds_of(message.timeout) if message.HasField("timeout") else NO_DEADLINE,
            message.traceparent,
        )
        for message in batch.items
    ]
    return Work(
        variant_id=batch.variant,
        items=items,
        taken_at=now,
        done=asyncio.get_running_loop().create_future(),
        traceparent=batch.traceparent,
    )


def to_response(number: int, done: Done) -> worker_pb2.ExecuteResponse:
    """A batch's result, with the credit that it gives back."""
    response = worker_pb2.ExecuteResponse()
    result = response.result
    result.batch_id = number
    result.wait.CopyFrom(duration(done.wait_s))
    result.compute.CopyFrom(duration(done.compute_s))
    add = result.results.add
    for item_id, output in done.outputs.items():
        item = add(id=item_id)
        if isinstance(output, Classified):
            item.classification.label = output.label
            item.classification.score = output.score
            for label, score in output.scores:
                item.classification.scores.add(label=label, score=score)
        elif isinstance(output, Embedded):
            item.embedding.values.extend(output.values)
        elif isinstance(output, SluiceError):
            item.status.CopyFrom(to_item_status(output))
    return response


def to_welcome(
    worker: str, variants: Iterable[Variant], *, draining: bool, boot: str = "", mesh: str = ""
) -> worker_pb2.Welcome:
    """A worker's card."""
    return worker_pb2.Welcome(worker=worker, variants=map(to_proto, variants), draining=draining, boot=boot, mesh=mesh)
