"""A variant: one concrete way to run a model, as workers describe it and routers choose it."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import TypeVar

from sluice.domain.enums import Task, Tier
from sluice.domain.status import duration, seconds_of
from sluice.v1 import model_pb2

# The bounds of a description, as `model.proto` states them.
MAX_VARIANTS = 256
MAX_MODEL_BYTES = 128
MAX_ID_BYTES = 256
MAX_NAME_BYTES = 64
MAX_LABELS = 65_536
MAX_LABEL_BYTES = 1_024
MAX_LABELS_BYTES = 1_048_576
MAX_TOKENS = 2**31 - 1
MAX_BATCH_SIZE = 65_536
MAX_BUCKETS = 64
MAX_POINTS = 1_024
MIN_BATCH_TIME_S = 1e-6
MAX_BATCH_TIME_S = 3_600.0
MAX_CACHE_TOKENS = 2**48
MAX_GENERATIONS = 65_536
MAX_TOKEN_BYTES = 1_048_576

# What each of them counts for beside its words: its names, numbers and their places.
_VARIANT_BYTES, _LABEL_BYTES, _POINT_BYTES = 1_024, 64, 128

EnumType = TypeVar("EnumType", bound=IntEnum)


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


def card_bytes(variants: Iterable[Variant]) -> int:
    """What `variants` count for where cards are kept: their words' bytes, and a constant for whatever has any.

    Memory grows with the number of labels and points too, not only with what they take on the wire.
    """
    return sum(
        _VARIANT_BYTES
        + sum(_LABEL_BYTES + len(label.encode(errors="replace")) for label in one.labels)
        + _POINT_BYTES * len(one.profile)
        for one in variants
    )


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

    Raises ValueError naming the field that is outside its bounds, or holds a number that this release does not know.
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
    if len(message.profile) > MAX_POINTS:
        raise ValueError(f"profile: there are {len(message.profile)} points, and {MAX_POINTS} is the most")
    variant = Variant(
        id=message.id,
        model=message.model,
        tier=_enum(Tier, message.tier, "tier"),
        task=_enum(Task, message.task, "task"),
        device=message.device,
        precision=message.precision,
        labels=tuple(message.labels),
        max_tokens=message.max_tokens,
        max_batch_size=message.max_batch_size,
        quality=message.quality if message.HasField("quality") else None,
        quality_by_complexity=tuple(message.quality_by_complexity),
        profile=profile,
        state=_enum(VariantState, message.state, "state"),
        cache_tokens=message.cache_tokens,
        max_generations=message.max_generations,
        max_token_bytes=message.max_token_bytes,
    )
    check(variant)
    return variant


def variants_from_proto(messages: Collection[model_pb2.Variant]) -> tuple[Variant, ...]:
    """What one worker holds, each id once. Raises ValueError naming the variant's place and the field at fault."""
    if len(messages) > MAX_VARIANTS:
        raise ValueError(f"variants: there are {len(messages)}, and {MAX_VARIANTS} is the most")
    found: dict[str, Variant] = {}
    for place, message in enumerate(messages):
        try:
            variant = from_proto(message)
        except ValueError as error:
            raise ValueError(f"variants[{place}].{error}") from None
        if variant.id in found:
            raise ValueError(f"variants[{place}].id: '{variant.id}' is listed twice")
        found[variant.id] = variant
    return tuple(found.values())


def check(variant: Variant) -> None:
    """Raise ValueError naming the first field of `variant` that no reader has to bear with."""
    if variant.tier is Tier.UNSPECIFIED:
        raise ValueError("tier: it is unspecified, and must be one in which a variant can serve")
    if variant.task is Task.UNSPECIFIED:
        raise ValueError("task: it is unspecified, and must be what the variant does")
    _check_name("id", variant.id, most=MAX_ID_BYTES)
    _check_name("model", variant.model, most=MAX_MODEL_BYTES)
    _check_name("device", variant.device, most=MAX_NAME_BYTES, least=0)
    _check_name("precision", variant.precision, most=MAX_NAME_BYTES)
    # Whoever shares an id shares a queue: an id that says otherwise than the card would take another model's.
    whole = variant_id(variant.model, variant.tier, variant.precision)
    if variant.id != whole:
        raise ValueError(f"id: it is '{variant.id}', and must be '{whole}', as its model, tier and precision say")
    _check_labels(variant.labels)
    _check_number("max_tokens", variant.max_tokens, 1, MAX_TOKENS)
    _check_number("max_batch_size", variant.max_batch_size, 1, MAX_BATCH_SIZE)
    _check_number("cache_tokens", variant.cache_tokens, 0, MAX_CACHE_TOKENS)
    _check_number("max_generations", variant.max_generations, 0, MAX_GENERATIONS)
    _check_number("max_token_bytes", variant.max_token_bytes, 0, MAX_TOKEN_BYTES)
    if variant.quality is not None:
        _check_number("quality", variant.quality, 0, 1)
    if len(variant.quality_by_complexity) > MAX_BUCKETS:
        count = len(variant.quality_by_complexity)
        raise ValueError(f"quality_by_complexity: there are {count} buckets, and {MAX_BUCKETS} is the most")
    for place, value in enumerate(variant.quality_by_complexity):
        _check_number(f"quality_by_complexity[{place}]", value, 0, 1)
    _check_profile(variant.profile)


def check_model(name: str) -> None:
    """Raise ValueError when `name` is not one that a model can have."""
    _check_name("model", name, most=MAX_MODEL_BYTES)


def _check_profile(profile: Iterable[BatchTime]) -> None:
    for place, point in enumerate(profile):
        _check_number(f"profile[{place}].items", point.items, 1, MAX_BATCH_SIZE)
        _check_number(f"profile[{place}].tokens", point.tokens, 1, MAX_TOKENS)
        _check_number(f"profile[{place}].time", point.time_s, MIN_BATCH_TIME_S, MAX_BATCH_TIME_S, unit=" s")
        _check_number(f"profile[{place}].deviation", point.deviation_s, 0, MAX_BATCH_TIME_S, unit=" s")


def _check_labels(labels: tuple[str, ...]) -> None:
    if len(labels) > MAX_LABELS:
        raise ValueError(f"labels: there are {len(labels)}, and {MAX_LABELS} is the most")
    total = 0
    for place, label in enumerate(labels):
        size = len(label.encode(errors="replace"))
        total += size
        if size > MAX_LABEL_BYTES:
            raise ValueError(f"labels[{place}]: it has {size} bytes, and {MAX_LABEL_BYTES} is the most")
    if total > MAX_LABELS_BYTES:
        raise ValueError(f"labels: they have {total} bytes together, and {MAX_LABELS_BYTES} is the most")


def _check_name(field: str, value: str, *, most: int, least: int = 1) -> None:
    size = len(value.encode(errors="replace"))
    if not least <= size <= most:
        raise ValueError(f"{field}: it has {size} bytes, and must have {least} to {most}")
    if not value.isprintable():
        raise ValueError(f"{field}: it has characters that cannot be printed")


def _check_number(field: str, value: float, least: float, most: float, *, unit: str = "") -> None:
    # Written so that NaN fails it too.
    if not least <= value <= most:
        raise ValueError(f"{field}: it is {value}{unit}, and must lie in [{least}, {most}]")


def _enum(kind: type[EnumType], number: int, field: str) -> EnumType:
    try:
        return kind(number)
    except ValueError:
        raise ValueError(f"{field}: this release knows no number {number}") from None
