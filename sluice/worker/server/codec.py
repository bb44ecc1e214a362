"""Between WorkerService's messages and a worker's own nouns. No decisions here."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterable
from typing import Final, Literal

from sluice.domain.errors import AnswerTooLarge, InvalidRequest, SluiceError
from sluice.domain.status import duration, seconds_of, to_item_status
from sluice.domain.variant import Variant, to_proto
from sluice.runtime.message_size import DEFAULT_LIMIT_BYTES
from sluice.v1 import worker_service_pb2 as worker_pb2
from sluice.worker.execution.backend import Classification, Embedding, Item
from sluice.worker.execution.batch import BatchItem, BatchOutcome, WorkerBatch
from sluice.worker.execution.generation_runner import ActiveGeneration, ChunkListener
from sluice.worker.execution.generator import Chunk, GenerationRequest

# Between WorkerService's texts and a generator's own nouns. No decisions here but what a number may be.


def generation_from_proto(message: worker_pb2.Generation, *, owner: ChunkListener, now: float) -> ActiveGeneration:
    """The text as it is written. Raises InvalidRequest naming the field whose number is none."""
    if message.max_new_tokens < 1:
        raise InvalidRequest("a text has at least one token", field="max_new_tokens")
    # Written so that NaN fails them too.
    if not 0.0 <= message.temperature < math.inf:
        raise InvalidRequest(f"the temperature is {message.temperature}, and must be 0 or more", field="temperature")
    if not 0.0 < message.top_p <= 1.0:
        raise InvalidRequest(f"top_p is {message.top_p}, and must lie in (0, 1]", field="top_p")
    if not all(message.stop):
        raise InvalidRequest("an empty stop string is everywhere", field="stop")
    prompt = GenerationRequest(
        text=message.prompt,
        max_new_tokens=message.max_new_tokens,
        temperature=message.temperature,
        top_p=message.top_p,
        top_k=message.top_k,
        seed=message.seed if message.HasField("seed") else None,
        stop=tuple(message.stop),
    )
    return ActiveGeneration(
        number=message.id,
        variant_id=message.variant,
        prompt=prompt,
        owner=owner,
        taken_at=now,
        timeout_s=seconds_of(message.timeout) if message.HasField("timeout") else None,
        traceparent=message.traceparent,
    )


def chunk_to_proto(number: int, piece: Chunk, *, error: SluiceError | None = None) -> worker_pb2.GenerationPiece:
    """A piece of text `number`; `error` takes the place of the piece's own."""
    error = error or piece.error
    return worker_pb2.GenerationPiece(
        id=number,
        text=piece.text,
        tokens=piece.tokens,
        prompt_tokens=piece.prompt_tokens,
        finish_reason=piece.finish.value if piece.finish is not None else None,  # type: ignore[arg-type]
        status=to_item_status(error) if error is not None else None,
    )


NO_DEADLINE = float("inf")
# What a card can do without, the longest first.
OPTIONAL_FIELDS: Final[tuple[Literal["labels", "profile"], ...]] = ("labels", "profile")


def batch_from_proto(batch: worker_pb2.Batch, *, now: float) -> WorkerBatch:
    """The batch as it is executed; its deadlines count from `now`."""
    items = [
        BatchItem(
            message.id,
            Item(message.text, message.top_k, message.truncate),
            now + seconds_of(message.timeout) if message.HasField("timeout") else NO_DEADLINE,
            message.traceparent,
        )
        for message in batch.items
    ]
    return WorkerBatch(
        variant_id=batch.variant,
        items=items,
        taken_at=now,
        done=asyncio.get_running_loop().create_future(),
        traceparent=batch.traceparent,
    )


def result_to_proto(number: int, done: BatchOutcome, *, most: int = DEFAULT_LIMIT_BYTES) -> worker_pb2.ExecuteResponse:
    """A batch's result, of at most `most` bytes: the largest answers of one that has more become failures."""
    response = worker_pb2.ExecuteResponse()
    result = response.result
    result.batch_id = number
    result.wait.CopyFrom(duration(done.wait_s))
    result.compute.CopyFrom(duration(done.compute_s))
    add = result.results.add
    for item_id, output in done.outputs.items():
        item = add(id=item_id)
        if isinstance(output, Classification):
            item.classification.label = output.label
            item.classification.score = output.score
            for label, score in output.scores:
                item.classification.scores.add(label=label, score=score)
        elif isinstance(output, Embedding):
            item.embedding.values.extend(output.values)
        elif isinstance(output, SluiceError):
            item.status.CopyFrom(to_item_status(output))
    size = response.ByteSize()
    if size > most:
        _leave_out_largest(result, size, most)
    return response


def _leave_out_largest(result: worker_pb2.BatchResult, size: int, most: int) -> None:
    problem = f"the answers of its batch have {size} bytes, and the router takes {most}"
    status = to_item_status(AnswerTooLarge(problem))
    least = worker_pb2.ItemResult(status=status).ByteSize()
    for item in sorted(result.results, key=lambda one: one.ByteSize(), reverse=True):
        own = item.ByteSize()
        if size <= most or own <= least:
            return
        item.status.CopyFrom(status)
        size += item.ByteSize() - own


def welcome_to_proto(
    worker: str,
    variants: Iterable[Variant],
    *,
    draining: bool,
    boot: str = "",
    mesh: str = "",
    max_message_bytes: int = 0,
    most: int = DEFAULT_LIMIT_BYTES,
) -> worker_pb2.Welcome:
    """A worker's card, of at most `most` bytes: labels, and then profiles, are left out where they are too long."""
    welcome = worker_pb2.Welcome(
        worker=worker,
        variants=map(to_proto, variants),
        draining=draining,
        boot=boot,
        mesh=mesh,
        max_message_bytes=max_message_bytes,
    )
    for name in OPTIONAL_FIELDS:
        if welcome.ByteSize() <= most:
            return welcome
        for variant in sorted(welcome.variants, key=lambda one: one.ByteSize(), reverse=True):
            variant.ClearField(name)
            if welcome.ByteSize() <= most:
                return welcome
    return welcome
