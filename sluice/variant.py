"""A variant: one concrete way to run a model, as workers describe it and routers choose it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import IntEnum

from sluice.status import duration, seconds_of
from sluice.tier import Task, Tier
from sluice.v1 import model_pb2


class VariantState(IntEnum):
    """The life of a variant on a worker; it only moves forward."""

    LOADING = 1
    READY = 2
    UNLOADING = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchTime:
    """One point of a batch-time profile: `items` texts padded to `tokens`, median and deviation in seconds."""

    items: int
    tokens: int
    time_s: float
    deviation_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """What `sluice.v1.Variant` says, with the same meaning of every field."""

    id: str
    model: str
    tier: Tier
    task: Task
    device: str = "cpu"
    precision: str = "fp32"
    labels: tuple[str, ...] = ()
    max_tokens: int = 512
    max_batch_size: int = 128
    quality: float | None = None
    quality_by_complexity: tuple[float, ...] = ()
    profile: tuple[BatchTime, ...] = ()
    state: VariantState = VariantState.READY
    cache_tokens: int = 0
    max_generations: int = 0
    max_token_bytes: int = 0


def variant_id(model: str, tier: Tier, precision: str) -> str:
    """The fleet-wide name of a variant, e.g. `support-intent/light-fp32`."""
    return f"{model}/{tier.label}-{precision}"


def with_texts(variant: Variant, *, cache_tokens: int, max_generations: int) -> Variant:
    """`variant`, which writes up to `max_generations` texts at a time, of `cache_tokens` in all."""
    return replace(variant, cache_tokens=cache_tokens, max_generations=max_generations)


def to_proto(variant: Variant) -> model_pb2.Variant:
    """The wire form of `variant`."""
    profile = [
        model_pb2.BatchTime(
            items=point.items,
            tokens=point.tokens,
            time=duration(point.time_s),
            deviation=duration(point.deviation_s),
        )
        for point in variant.profile
    ]
    return model_pb2.Variant(
        id=variant.id,
        model=variant.model,
        tier=variant.tier.value,  # type: ignore[arg-type]
        task=variant.task.value,  # type: ignore[arg-type]
        device=variant.device,
        precision=variant.precision,
        labels=variant.labels,
        max_tokens=variant.max_tokens,
        max_batch_size=variant.max_batch_size,
        quality=variant.quality,
        quality_by_complexity=variant.quality_by_complexity,
        profile=profile,
        state=variant.state.value,  # type: ignore[arg-type]
        cache_tokens=variant.cache_tokens,
        max_generations=variant.max_generations,
        max_token_bytes=variant.max_token_bytes,
    )


def from_proto(message: model_pb2.Variant) -> Variant:
    """The domain form of a worker's description.

    Raises ValueError when an enum holds a number that this release does not know.
    """
    profile = tuple(
        BatchTime(
            items=point.items,
            tokens=point.tokens,
            time_s=seconds_of(point.time),
            deviation_s=seconds_of(point.deviation),
        )
        for point in message.profile
    )
    return Variant(
        id=message.id,
        model=message.model,
        tier=Tier(message.tier),
        task=Task(message.task),
        device=message.device,
        precision=message.precision,
        labels=tuple(message.labels),
        max_tokens=message.max_tokens,
        max_batch_size=message.max_batch_size,
        quality=message.quality if message.HasField("quality") else None,
        quality_by_complexity=tuple(message.quality_by_complexity),
        profile=profile,
        state=VariantState(message.state),
        cache_tokens=message.cache_tokens,
        max_generations=message.max_generations,
        max_token_bytes=message.max_token_bytes,
    )
