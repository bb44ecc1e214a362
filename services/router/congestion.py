"""How congested the mesh is: what waits for each pool, and how much of it waits because nobody at all is free. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from math import sqrt

from services.router.offer import Crew
from services.router.outlook import Outlook
from services.router.pools import Pool
from services.router.variant_queue import VariantQueue

# Delays shorter than this are alike.
NEGLIGIBLE_S = 0.005

Queues = Mapping[str, VariantQueue]


def backlog_s(outlook: Outlook, queues: Queues) -> dict[Pool, float]:
    """Seconds of a device that wait for each pool's workers."""
    found = dict.fromkeys(Pool, 0.0)
    for crew in outlook.all_crews():
        found[crew.pool] += waiting_s(crew, queues) * crew.workers
    return found


def waiting_s(crew: Crew, queues: Queues) -> float:
    """Seconds that what waits keeps each of the crew's workers busy."""
    waiting = [(offer, queues[offer.variant_id]) for offer in crew.offers if offer.variant_id in queues]
    return sum(
        (queue.hot.tokens + queue.cold.tokens) * offer.token_s / offer.workers
        for offer, queue in waiting
        if offer.is_known
    )


def usual_batch_s(outlook: Outlook, queues: Queues) -> float:
    """The longest batch of those variants for which anything waits."""
    return max(
        (
            offer.batch_s
            for crew in outlook.all_crews()
            for offer in crew.offers
            if offer.is_known and queues.get(offer.variant_id)
        ),
        default=0.0,
    )


def unavoidable_cost_s(outlook: Outlook, queues: Queues) -> float:
    """What admission counted for the work that waits, as far as it would wait wherever it was sent.

    A queue before one crew while another crew that serves the same model is free is a matter for assignment, and little
    reason to refuse anybody anything. So work counts as if its delay were the geometric mean of the delay where it
    waits and that at the freest crew.
    """
    least: dict[str, float] = {}
    here: dict[str, tuple[str, float]] = {}
    for crew in outlook.all_crews():
        delay_s = crew.free_in_s + waiting_s(crew, queues)
        for offer in crew.offers:
            least[offer.model] = min(delay_s, least.get(offer.model, delay_s))
            _, before_s = here.get(offer.variant_id, ("", delay_s))
            here[offer.variant_id] = offer.model, min(delay_s, before_s)
    cost_s = 0.0
    for name, queue in queues.items():
        share = 1.0
        if name in here:
            model, here_s = here[name]
            share = sqrt((least[model] + NEGLIGIBLE_S) / (here_s + NEGLIGIBLE_S))
        cost_s += queue.cost_s * share
    return cost_s
