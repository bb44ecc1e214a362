"""What a caller gets: the answer, who gave it, and what it cost."""

from __future__ import annotations

from dataclasses import dataclass

from sluice.domain.enums import Level, Tier
from sluice.domain.status import seconds_of
from sluice.v1 import inference_service_pb2 as inference_pb2


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One answered text. `label` is empty and `embedding` filled for models that embed; times are milliseconds."""

    label: str
    score: float
    scores: tuple[tuple[str, float], ...]
    embedding: tuple[float, ...]
    model: str
    variant: str
    tier: Tier
    precision: str
    worker: str
    levels: tuple[Level, ...]
    degraded_from: Tier
    queue_ms: float
    batch_ms: float
    compute_ms: float
    trace_id: str
    request_id: str


def from_proto(message: inference_pb2.InferResponse) -> Answer:
    """The answer that `message` carries."""
    classification, timing = message.classification, message.timing
    return Answer(
        label=classification.label,
        score=classification.score,
        scores=tuple((one.label, one.score) for one in classification.scores),
        embedding=tuple(message.embedding.values),
        model=message.model,
        variant=message.variant,
        tier=Tier(message.tier),
        precision=message.precision,
        worker=message.worker,
        levels=tuple(Level(level) for level in message.levels),
        degraded_from=Tier(message.degraded_from),
        queue_ms=seconds_of(timing.queue) * 1000,
        batch_ms=seconds_of(timing.batch) * 1000,
        compute_ms=seconds_of(timing.compute) * 1000,
        trace_id=message.trace_id,
        request_id=message.request_id,
    )
