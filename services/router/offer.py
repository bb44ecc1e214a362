"""What a variant is worth at a place where it is served: its quality, its times and its cost, all read beforehand."""

from __future__ import annotations

from dataclasses import dataclass

from services.router.batch_time import BatchCurve
from services.router.requests.device_pool import Pool
from sluice.domain.enums import Tier


# Not frozen: dozens are made in each refresh, and freezing triples the cost. Nobody changes one.
@dataclass(slots=True, kw_only=True)
class Offer:
    """One variant, as one crew serves it. Seconds are of one worker's device.

    `quality` is relative to the full model's, by bucket of complexity; `pace` multiplies the curve's times, and
    `spread` is their relative mean deviation. A full batch has `batch_tokens` and takes `batch_s`, `token_s` for each;
    `relative_cost` is `token_s` over the full tier's. `workers` of this and other crews serve the variant, and share a
    `flow` of new tokens a second. The worker answered a batch of it last at `answered_at`.
    """

    variant_id: str
    model: str
    tier: Tier
    pool: Pool
    quality: tuple[float, ...]
    curve: BatchCurve
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
class Crew:
    """Workers of one pool that serve the same variants; the first of them is free in `free_in_s`, give or take."""

    pool: Pool
    workers: int
    free_in_s: float
    uncertain_s: float
    offers: tuple[Offer, ...]
