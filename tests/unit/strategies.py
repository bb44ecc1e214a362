"""Generated nouns of the fleet, within the ranges that the contract gives them."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

from hypothesis import strategies as st

from sluice.control.degradation.report import Report
from sluice.control.degradation.signals import Signals
from sluice.control.directive import Directive
from sluice.control.fleet import Departure, DepartureReason, Fleet, Member, Registration, Transition
from sluice.domain.enums import Level, MemberKind, Precision, Task, Tier
from sluice.domain.variant import (
    MAX_BATCH_SIZE,
    MAX_CACHE_TOKENS,
    MAX_GENERATIONS,
    MAX_TOKEN_BYTES,
    MAX_TOKENS,
    BatchTime,
    Variant,
    VariantState,
    variant_id,
)

uint32 = st.integers(min_value=0, max_value=2**32 - 1)
uint64 = st.integers(min_value=0, max_value=2**64 - 1)
ratios = st.floats(min_value=0, max_value=1)
# Protobuf counts nanoseconds, so only multiples of one come back as they went.
seconds = st.integers(min_value=0, max_value=10**13).map(lambda nanos: nanos // 10**9 + nanos % 10**9 * 1e-9)
# What cannot be encoded as UTF-8 cannot be sent at all.
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
instants = st.datetimes(timezones=st.just(UTC), min_value=datetime(1970, 1, 1), max_value=datetime(9999, 1, 1))  # noqa: DTZ001

batch_sizes = st.integers(min_value=1, max_value=MAX_BATCH_SIZE)
token_counts = st.integers(min_value=1, max_value=MAX_TOKENS)
# Names are shown and logged.
names = st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=10)
batch_seconds = st.integers(min_value=1_000, max_value=10**13 // 4).map(
    lambda nanos: nanos // 10**9 + nanos % 10**9 * 1e-9
)


def _with_its_id(variant: Variant) -> Variant:
    return replace(variant, id=variant_id(variant.model, variant.tier, variant.precision))


batch_times = st.builds(
    BatchTime, items=batch_sizes, tokens=token_counts, time_s=batch_seconds, deviation_s=batch_seconds
)
variants = st.builds(
    Variant,
    id=st.just(""),
    model=names,
    tier=st.sampled_from([tier for tier in Tier if tier]),
    task=st.sampled_from([task for task in Task if task]),
    device=names,
    precision=names,
    labels=st.lists(texts, max_size=3).map(tuple),
    max_tokens=token_counts,
    max_batch_size=batch_sizes,
    quality=st.none() | ratios,
    quality_by_complexity=st.lists(ratios, max_size=3).map(tuple),
    profile=st.lists(batch_times, max_size=2).map(tuple),
    state=st.sampled_from(VariantState),
    cache_tokens=st.integers(min_value=0, max_value=MAX_CACHE_TOKENS),
    max_generations=st.integers(min_value=0, max_value=MAX_GENERATIONS),
    max_token_bytes=st.integers(min_value=0, max_value=MAX_TOKEN_BYTES),
).map(_with_its_id)
directives = st.builds(
    Directive,
    epoch=uint64,
    revision=uint64,
    levels=st.sets(st.sampled_from(Level)).map(lambda levels: tuple(sorted(levels))),
    offload_share=ratios,
    lighten_share=ratios,
    admit_scale=ratios,
    precision=st.sampled_from(Precision),
    lease_s=st.integers(0, 600 * 10**9).map(lambda nanos: nanos // 10**9 + nanos % 10**9 * 1e-9),
    reason=texts,
)
degradations = directives.map(lambda directive: directive.degradation)
versions = st.tuples(uint64, uint64)
# What the laws read may be any number in its range; what comes over the wire is rounded to nanoseconds.
signals = st.builds(
    Signals,
    utilization=st.none() | ratios,
    utilization_max=st.none() | ratios,
    cpu_utilization=st.none() | ratios,
    memory=st.none() | ratios,
    cpu_memory=st.none() | ratios,
    full_reload_ratio=ratios,
    lowering_ratio=ratios,
    queue_delay_s=st.none() | seconds,
    standing_queue_delay_s=st.none() | seconds,
    median_timeout_s=st.none() | seconds,
    deadline_miss_ratio=st.none() | ratios,
    refused_ratio=st.none() | ratios,
    offloaded_utilization=st.none() | ratios,
)
levels = st.sets(st.sampled_from(Level)).map(lambda levels: tuple(sorted(levels)))
transitions = st.builds(Transition, at=instants, before=levels, directive=directives, signals=signals)
reports = st.builds(
    Report,
    measured_at=instants,
    utilization=st.none() | ratios,
    memory=st.none() | ratios,
    queue_delay_s=st.none() | seconds,
    hot_queued=uint32,
    cold_queued=uint32,
    inflight=uint32,
    deadline_miss_ratio=st.none() | ratios,
    variants=st.lists(variants, max_size=2, unique_by=lambda one: one.id).map(tuple),
    draining=st.booleans(),
    requests_per_second=st.floats(min_value=0, max_value=1e9),
    standing_queue_delay_s=st.none() | seconds,
    median_timeout_s=st.none() | seconds,
    refused_ratio=st.none() | ratios,
    offloaded_utilization=st.none() | ratios,
    full_reload_ratio=st.none() | ratios,
    lowering_ratio=st.none() | ratios,
    swap_trouble=texts,
    in_force=st.none() | degradations,
    applied=st.none() | versions,
    decides_alone=st.booleans(),
)
registrations = st.builds(
    Registration,
    id=texts,
    kind=st.sampled_from(MemberKind),
    address=texts,
    obeyed=st.none() | directives,
    is_directed=st.booleans(),
    boot=texts,
    mesh=texts,
)
members = st.builds(
    Member,
    id=texts,
    kind=st.sampled_from(MemberKind),
    address=texts,
    report=st.none() | reports,
    last_heard_at=st.none() | instants,
    applied=st.none() | versions,
    unacknowledged_s=st.none() | seconds,
    disobeys=st.booleans(),
    doubted=uint64,
    boot=texts,
)
departures = st.builds(Departure, id=texts, address=texts, boot=texts, reason=st.sampled_from(DepartureReason))
fleets = st.builds(
    Fleet,
    epoch=uint64,
    revision=uint64,
    members=st.lists(members, max_size=2).map(tuple),
    directive=directives,
    signals=signals,
    departed=st.lists(departures, max_size=2).map(tuple),
)
