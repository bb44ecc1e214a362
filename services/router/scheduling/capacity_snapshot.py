"""The outlook: what every crew of workers offers at this moment, as far as it does not depend on who asks.

It is made anew fifty times a second at most, so that placing a request only adds what waits in the queues.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from math import exp2
from typing import Protocol

from services.router.queueing.batch import InFlightBatch
from services.router.requests.device_pool import DevicePool
from services.router.workers.latency_model import BatchLatencyCurve, WorkerLatencyModel, remaining_s
from services.router.workers.outlier_detection import WorkerHealth
from sluice.domain.enums import Tier
from sluice.domain.variant import Variant

# What a variant is worth at a place where it is served: its quality, its times and its cost, all read beforehand.


# Not frozen: dozens are made in each refresh, and freezing triples the cost. Nobody changes one.
@dataclass(slots=True, kw_only=True)
class VariantCapacity:
    """One variant, as one crew serves it. Seconds are of one worker's device.

    `quality` is relative to the full model's, by bucket of complexity; `pace` multiplies the curve's times, and
    `spread` is their relative mean deviation. A full batch has `batch_tokens` and takes `batch_s`, `token_s` for each;
    `relative_cost` is `token_s` over the full tier's. `workers` of this and other crews serve the variant, and share a
    `flow` of new tokens a second. The worker answered a batch of it last at `answered_at`.
    """

    variant_id: str
    model: str
    tier: Tier
    pool: DevicePool
    quality: tuple[float, ...]
    curve: BatchLatencyCurve
    pace: float
    spread: float
    overhead_s: float
    batch_tokens: float
    batch_s: float
    is_known: bool
    token_s: float
    answered_at: float = float("-inf")
    flow: float = 0.0
    workers: int = 1
    relative_cost: float = 1.0

    def alone_s(self, tokens: int) -> float:
        """Seconds from an idle router to the answer, for a request of `tokens` by itself."""
        return self.curve.time_s(tokens) * self.pace + self.overhead_s


@dataclass(slots=True, kw_only=True)
class WorkerGroupCapacity:
    """Workers of one pool that serve the same variants; the first of them is free in `free_in_s`, give or take."""

    pool: DevicePool
    workers: int
    free_in_s: float
    uncertain_s: float
    offers: tuple[VariantCapacity, ...]


# How much work is placed on each variant just now, so that an estimate knows who else will join a batch.


HALF_LIFE_S = 0.2
# Tokens a second that are as good as none; a variant with fewer is forgotten.
NEGLIGIBLE = 1e-3


class PlacementRate:
    """Tokens a second by variant, exponentially weighted. Clocks are arguments, in seconds."""

    def __init__(self) -> None:
        self._rates: dict[str, float] = {}
        self._placed: dict[str, int] = {}
        self._rolled_at = float("-inf")

    def place(self, variant_id: str, tokens: int) -> None:
        """A request of so many tokens was placed on the variant."""
        self._placed[variant_id] = self._placed.get(variant_id, 0) + tokens

    def roll(self, now: float) -> None:
        """Bring the rates up to date."""
        elapsed_s = now - self._rolled_at
        if elapsed_s <= 0.0:
            return
        weight = 1.0 - exp2(-elapsed_s / HALF_LIFE_S)
        for name in self._rates.keys() | self._placed.keys():
            before = self._rates.get(name, 0.0)
            rate = before + weight * (self._placed.get(name, 0) / elapsed_s - before)
            self._rates[name] = rate
            if rate < NEGLIGIBLE:
                del self._rates[name]
        self._placed.clear()
        self._rolled_at = now

    def rate(self, variant_id: str) -> float:
        """Tokens a second, as of the last roll."""
        return self._rates.get(variant_id, 0.0)


# How good a variant's answers are, as a share of the full model's, by the complexity of the text.


BUCKETS = 8
# What is believed until it is measured: the intercept, and the slope over complexity.
BELIEVED = {Tier.FULL: (1.00, 0.00), Tier.QUANTIZED: (0.99, 0.02), Tier.LIGHT: (0.97, 0.10)}


def bucket_of(complexity: float) -> int:
    """The bucket of a complexity in [0, 1]: equally wide ones, the simplest first."""
    return min(BUCKETS - 1, max(0, int(complexity * BUCKETS)))


def relative_quality(variant: Variant, full: Variant | None) -> tuple[float, ...]:
    """Quality of `variant` over that of `full`, by bucket, at most 1: no copy is trusted to be better than the model.

    `full` is the model's full variant, if one was ever described. What is not measured is believed.
    """
    if variant.tier is Tier.FULL:
        return (1.0,) * BUCKETS
    own, reference = _measured(variant), _measured(full) if full is not None else ()
    if own and reference:
        return tuple(min(1.0, one / max(other, 1e-9)) for one, other in zip(own, reference, strict=True))
    start, slope = BELIEVED.get(variant.tier, BELIEVED[Tier.LIGHT])
    return tuple(start - slope * (place + 0.5) / BUCKETS for place in range(BUCKETS))


def _measured(variant: Variant) -> tuple[float, ...]:
    values = variant.quality_by_complexity
    if values:
        return tuple(values[int(place * len(values) / BUCKETS)] for place in range(BUCKETS))
    return (variant.quality,) * BUCKETS if variant.quality is not None else ()


# What a tier costs beside the others until it is known.
BELIEVED_COST = {Tier.FULL: 1.0, Tier.LIGHT: 0.25, Tier.QUANTIZED: 0.2}
# How sure one is of when a stuck worker will be free.
STUCK_SPREAD = 0.5


class WorkerView(Protocol):
    """What is known of one worker. Read only."""

    variants: dict[str, Variant]
    open: dict[int, InFlightBatch]
    credits: int
    max_items: int
    pool: DevicePool
    times: WorkerLatencyModel
    conduct: WorkerHealth
    last_message_at: float

    @property
    def is_serving(self) -> bool:
        """Whether it is connected and takes work."""

    @property
    def begun_at(self) -> float:
        """When its oldest open batch was begun, at the earliest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CapacitySnapshot:
    """`crews[model]` have an offer of that model; `best[model][tier]` is the newest known offer, served now or not.

    `workers` counts those that take work, by pool. `least_token_s[model, tier]` is the device time per token of the
    cheapest offer of at least that tier whose times are known.
    """

    crews: Mapping[str, tuple[WorkerGroupCapacity, ...]] = field(default_factory=dict)
    best: Mapping[str, Mapping[Tier, VariantCapacity]] = field(default_factory=dict)
    least_token_s: Mapping[tuple[str, Tier], float] = field(default_factory=dict)
    workers: Mapping[DevicePool, int] = field(default_factory=lambda: dict.fromkeys(DevicePool, 0))
    at: float = float("-inf")

    def all_crews(self) -> Iterable[WorkerGroupCapacity]:
        """Each crew once."""
        return {id(crew): crew for crews in self.crews.values() for crew in crews}.values()


class SnapshotBuilder:
    """Makes outlooks, and remembers from one to the next what each model was like at its best."""

    def __init__(self, *, max_batch_size: int) -> None:
        self._max_batch_size = max_batch_size
        self._best: dict[str, dict[Tier, VariantCapacity]] = {}
        self._full: dict[str, Variant] = {}
        self._quality: dict[str, tuple[Variant, Variant | None, tuple[float, ...]]] = {}

    def keep(self, offered: Mapping[str, Collection[Tier]], served: Collection[str]) -> None:
        """Forget all but the tiers `offered` of late, by model, and what follows from variants not `served` now."""
        for model in list(self._best):
            tiers = self._best[model] = {
                tier: offer for tier, offer in self._best[model].items() if tier in offered.get(model, ())
            }
            if not tiers:
                del self._best[model]
        self._full = {model: one for model, one in self._full.items() if Tier.FULL in offered.get(model, ())}
        self._quality = {name: held for name, held in self._quality.items() if name in served}

    def forget(self, variants: Iterable[Variant]) -> None:
        """Do not compare with `variants` any more; who else serves their tiers is looked at anew."""
        for variant in variants:
            self._best.get(variant.model, {}).pop(variant.tier, None)
            if self._full.get(variant.model) is variant:
                del self._full[variant.model]

    def look(
        self, workers: Iterable[WorkerView], flow: PlacementRate, *, item_tokens: float, now: float
    ) -> CapacitySnapshot:
        """The outlook at `now`, when a text has `item_tokens` on the average and `flow` is placed."""
        able = [worker for worker in workers if worker.is_serving and worker.variants]
        for worker in able:
            for variant in worker.variants.values():
                if variant.tier is Tier.FULL:
                    self._full[variant.model] = variant
        crews = [self._crew(members, names, item_tokens, now) for members, names in _group(able, now)]
        self._count_and_compare(crews, flow)
        models: dict[str, list[WorkerGroupCapacity]] = {}
        for crew in crews:
            for model in dict.fromkeys(offer.model for offer in crew.offers):
                models.setdefault(model, []).append(crew)
        counts = {pool: sum(one.pool is pool and not one.conduct.is_out(now) for one in able) for pool in DevicePool}
        return CapacitySnapshot(
            crews={model: tuple(found) for model, found in models.items()},
            best=self._best,
            least_token_s=_cheapest(crews),
            workers=counts,
            at=now,
        )

    def _crew(
        self, members: list[WorkerView], names: Iterable[str], item_tokens: float, now: float
    ) -> WorkerGroupCapacity:
        free = [(_free_in_s(worker, now), place) for place, worker in enumerate(members)]
        free_in_s, place = min(free)
        first = members[place]
        offers = tuple(self._offer(first, first.variants[name], item_tokens, now) for name in names)
        uncertain_s = STUCK_SPREAD * free_in_s if first.conduct.is_out(now) else 0.0
        return WorkerGroupCapacity(
            pool=first.pool, workers=len(members), free_in_s=free_in_s, uncertain_s=uncertain_s, offers=offers
        )

    def _offer(self, worker: WorkerView, variant: Variant, item_tokens: float, now: float) -> VariantCapacity:
        times = worker.times
        curve, pace = times.curve(variant.id), times.pace(variant.id)
        ratio = pace.ratio(now)
        items = max(1, min(self._max_batch_size, variant.max_batch_size, worker.max_items or self._max_batch_size))
        batch_tokens = times.efficient_batch_tokens(variant.id, item_tokens, items, now) or item_tokens * items
        batch_s = curve.time_s(batch_tokens) * ratio
        return VariantCapacity(
            variant_id=variant.id,
            model=variant.model,
            tier=variant.tier,
            pool=worker.pool,
            quality=self._quality_of(variant),
            curve=curve,
            pace=ratio,
            spread=pace.spread,
            overhead_s=times.overhead_s(now),
            batch_tokens=batch_tokens,
            batch_s=batch_s,
            token_s=batch_s / batch_tokens,
            is_known=times.is_known(variant.id),
            answered_at=pace.at,
        )

    def _quality_of(self, variant: Variant) -> tuple[float, ...]:
        full = self._full.get(variant.model)
        held = self._quality.get(variant.id)
        if held is None or held[0] is not variant or held[1] is not full:
            held = self._quality[variant.id] = variant, full, relative_quality(variant, full)
        return held[2]

    def _count_and_compare(self, crews: list[WorkerGroupCapacity], flow: PlacementRate) -> None:
        """Fill in what no crew knows of itself: who else serves its variants, and what full service costs."""
        counts: dict[str, int] = {}
        for crew in crews:
            for offer in crew.offers:
                counts[offer.variant_id] = counts.get(offer.variant_id, 0) + crew.workers
                self._best.setdefault(offer.model, {})[offer.tier] = offer
        for crew in crews:
            for offer in crew.offers:
                known = self._best[offer.model]
                offer.workers = counts[offer.variant_id]
                offer.flow = flow.rate(offer.variant_id)
                offer.relative_cost = _relative_cost(offer, known[max(known)])


def _relative_cost(offer: VariantCapacity, dearest: VariantCapacity) -> float:
    if offer.is_known and dearest.is_known:
        return offer.token_s / dearest.token_s
    return BELIEVED_COST[offer.tier] / BELIEVED_COST[dearest.tier]


def _group(workers: list[WorkerView], now: float) -> Iterable[tuple[list[WorkerView], tuple[str, ...]]]:
    """Workers with the same variants in the same pool, and those variants.

    Who is out counts for a variant only where nobody else is left.
    """
    serving = [worker for worker in workers if not worker.conduct.is_out(now)]
    covered = {name for worker in serving for name in worker.variants}
    groups: dict[tuple[DevicePool, tuple[str, ...]], list[WorkerView]] = {}
    for worker in workers:
        out = worker.conduct.is_out(now)
        names = tuple(name for name in worker.variants if not (out and name in covered))
        if names:
            groups.setdefault((worker.pool, names), []).append(worker)
    return [(members, names) for (_, names), members in groups.items()]


def _cheapest(crews: Iterable[WorkerGroupCapacity]) -> dict[tuple[str, Tier], float]:
    found: dict[tuple[str, Tier], float] = {}
    for crew in crews:
        for offer in crew.offers:
            for tier in Tier if offer.is_known else ():
                key = offer.model, tier
                if tier <= offer.tier and offer.token_s < found.get(key, float("inf")):
                    found[key] = offer.token_s
    return found


def _free_in_s(worker: WorkerView, now: float) -> float:
    if not worker.open:
        # One that has nothing to do and takes nothing says no more than for how long that has been so.
        return 0.0 if worker.credits else max(0.0, now - worker.last_message_at)
    return remaining_s(
        worker.times, worker.open.values(), begun_at=worker.begun_at, stuck=worker.conduct.stuck, now=now
    )
