"""How soon a new request would be answered by each variant: what stands before it, and the batch that it would join.

Work waits only in the router's queues, so what stands before a request is known: earlier deadlines of its own class,
and all that is hot if it is not. A crew's workers take from the queues of all variants that they serve.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from services.router.queueing.queue import VariantQueue
from services.router.scheduling.capacity_snapshot import VariantCapacity, WorkerGroupCapacity

# The spread of a normal distribution for a mean absolute deviation of one.
SIGMA_PER_DEVIATION = 1.25
LEAST_SHARE = 0.1
# What timers and a busy loop make of any instant.
LEAST_SIGMA_S = 0.002
CERTAIN = 4.0

Queues = Callable[[str], VariantQueue | None]


@dataclass(slots=True)
class Candidate:
    """An offer, and when it would answer: in `expected_s`, with probability `chance` within the request's time."""

    offer: VariantCapacity
    expected_s: float
    chance: float


def candidates(
    crews: Iterable[WorkerGroupCapacity],
    queues: Queues,
    *,
    model: str,
    hot: bool,
    deadline: float,
    tokens: int,
    now: float,
    caller: str = "",
) -> list[Candidate]:
    """What the crews can do for a request of `tokens` (estimated) with `deadline`, both clocks in seconds."""
    found: list[Candidate] = []
    slack_s = deadline - now
    for crew in crews:
        offers, crew_s = crew.offers, crew.free_in_s
        aheads = [tokens_ahead(queues(offer.variant_id), hot=hot, deadline=deadline, caller=caller) for offer in offers]
        for offer, ahead in zip(offers, aheads, strict=True):
            if ahead:
                crew_s += ahead * offer.token_s / offer.workers
        for offer, ahead in zip(offers, aheads, strict=True):
            if offer.model == model:
                expected_s, own_s = _expected(offer, ahead, tokens, crew_s)
                sigma_s = max(LEAST_SHARE * expected_s, SIGMA_PER_DEVIATION * offer.spread * own_s)
                sigma_s += LEAST_SIGMA_S + crew.uncertain_s
                found.append(Candidate(offer, expected_s, chance(slack_s, expected_s, sigma_s)))
    return found


def _expected(offer: VariantCapacity, ahead: int, tokens: int, crew_s: float) -> tuple[float, float]:
    """Seconds until the answer, and of those the own batch's, behind all that makes `crew_s`, own queue included."""
    full, riders = divmod(ahead, offer.batch_tokens)
    # Of what waits in the own queue only full batches are waited for; the rest travels with the request, and so does
    # what comes until the batch is formed.
    wait_s = crew_s - (ahead * offer.token_s - full * offer.batch_s) / offer.workers
    company = riders + tokens + offer.flow * wait_s / offer.workers
    own_s = offer.curve.time_s(max(tokens, min(company, offer.batch_tokens))) * offer.pace
    return wait_s + own_s + offer.overhead_s, own_s


def tokens_ahead(queue: VariantQueue | None, *, hot: bool, deadline: float, caller: str = "") -> int:
    """Tokens in `queue` that are served before a request of `caller` with `deadline`."""
    if queue is None:
        return 0
    ahead = queue.ahead_of(deadline, hot=hot, caller=caller)
    return ahead if hot else queue.hot.tokens + ahead


def chance(slack_s: float, expected_s: float, sigma_s: float) -> float:
    """The probability that a normally distributed time is at most `slack_s`."""
    z = (slack_s - expected_s) / sigma_s
    if z >= CERTAIN:
        return 1.0
    if z <= -CERTAIN:
        return 0.0
    return 0.5 * (1.0 + math.erf(z * math.sqrt(0.5)))
