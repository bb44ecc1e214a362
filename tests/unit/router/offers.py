"""Offers, options and workers as assignment sees them, for tests."""

from __future__ import annotations

from services.router.queueing.batch import InFlightBatch
from services.router.requests.device_pool import DevicePool, pool_of
from services.router.scheduling.capacity_snapshot import VariantCapacity
from services.router.scheduling.latency_estimator import Candidate
from services.router.workers.latency_model import BatchLatencyCurve, WorkerLatencyModel
from services.router.workers.outlier_detection import WorkerHealth
from sluice.domain.enums import Task, Tier
from sluice.domain.variant import BatchTime, Variant, variant_id

# Seconds for each token: the full tier costs ten times what the smallest does.
TOKEN_S = {Tier.FULL: 1e-4, Tier.LIGHT: 2e-5, Tier.QUANTIZED: 1e-5}
FIXED_S = 0.001


def profile(token_s: float, fixed_s: float = FIXED_S) -> tuple[BatchTime, ...]:
    """A batch takes a constant and so much for each token, give or take a twentieth."""
    return tuple(
        BatchTime(items=items, tokens=16, time_s=time_s, deviation_s=time_s / 20)
        for items in (1, 4, 16, 64)
        for time_s in (fixed_s + token_s * items * 16,)
    )


def variant(tier: Tier, *, model: str = "m", token_s: float | None = None, precision: str = "fp32") -> Variant:
    """A variant whose times are measured; `token_s` 0: one without a profile."""
    known_s = TOKEN_S[tier] if token_s is None else token_s
    return Variant(
        id=variant_id(model, tier, precision),
        model=model,
        tier=tier,
        task=Task.TEXT_CLASSIFICATION,
        profile=profile(known_s) if known_s else (),
    )


def offer(
    tier: Tier, *, pool: DevicePool | None = None, quality: float | None = None, name: str = ""
) -> VariantCapacity:
    """What a crew of one offers; the pool is the tier's usual one."""
    usual = {Tier.FULL: (1.0, 1.0), Tier.LIGHT: (0.9, 0.2), Tier.QUANTIZED: (0.85, 0.1)}[tier]
    curve = BatchLatencyCurve(profile(TOKEN_S[tier]))
    return VariantCapacity(
        variant_id=name or f"m/{tier.label}",
        model="m",
        tier=tier,
        pool=pool if pool is not None else (DevicePool.ACCELERATOR if tier is Tier.FULL else DevicePool.CPU),
        quality=((usual[0] if quality is None else quality),) * 8,
        curve=curve,
        pace=1.0,
        spread=0.05,
        overhead_s=0.001,
        batch_tokens=1_000.0,
        batch_s=curve.time_s(1_000.0),
        is_known=True,
        token_s=TOKEN_S[tier],
        relative_cost=usual[1],
    )


def option(tier: Tier, chance: float = 1.0, *, expected_s: float = 0.01, pool: DevicePool | None = None) -> Candidate:
    """An option of a tier."""
    return Candidate(offer(tier, pool=pool), expected_s, chance)


class Bench:
    """A connected worker without a wire."""

    def __init__(self, *variants: Variant, pool: DevicePool = DevicePool.CPU) -> None:
        self.variants = {one.id: one for one in variants}
        self.open: dict[int, InFlightBatch] = {}
        self.credits = 2
        self.max_items = 128
        self.pool = pool_of(variants, before=pool)
        self.times = WorkerLatencyModel()
        self.times.describe(variants)
        self.conduct = WorkerHealth()
        self.last_message_at = 0.0
        self.is_serving = True
        self.begun_at = float("inf")

    def works_on(self, variant_id: str, tokens: int, *, begun_at: float) -> None:
        """It has one more batch."""
        number = len(self.open)
        self.open[number] = InFlightBatch(id=number, variant_id=variant_id, tickets={}, sent_at=begun_at, tokens=tokens)
        self.begun_at = min(self.begun_at, begun_at)
