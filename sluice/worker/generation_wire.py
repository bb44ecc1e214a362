"""Between WorkerService's texts and a generator's own nouns. No decisions here but what a number may be."""

from __future__ import annotations

import math

from sluice.domain.errors import InvalidRequest, SluiceError
from sluice.domain.status import seconds_of, to_item_status
from sluice.v1 import worker_service_pb2 as worker_pb2
from sluice.worker.execution.generator import Piece, Prompt
from sluice.worker.writing import Owner, Writing


def to_writing(message: worker_pb2.Generation, *, owner: Owner, now: float) -> Writing:
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
    prompt = Prompt(
        text=message.prompt,
        max_new_tokens=message.max_new_tokens,
        temperature=message.temperature,
        top_p=message.top_p,
        top_k=message.top_k,
        seed=message.seed if message.HasField("seed") else None,
        stop=tuple(message.stop),
    )
    return Writing(
        number=message.id,
        variant_id=message.variant,
        prompt=prompt,
        owner=owner,
        taken_at=now,
        timeout_s=seconds_of(message.timeout) if message.HasField("timeout") else None,
        traceparent=message.traceparent,
    )


def to_piece(number: int, piece: Piece, *, error: SluiceError | None = None) -> worker_pb2.GenerationPiece:
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
