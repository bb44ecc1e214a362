"""How congested the mesh is: what waits for each pool, and how much of it waits because nobody at all is free. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from math import sqrt

from services.router.admission.resource import Waiting
from services.router.offer import Crew
from services.router.queueing.queue import VariantQueue
from services.router.requests.device_pool import Pool
from services.router.scheduling.capacity_snapshot import Outlook

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


def waiting_by_variant(outlook: Outlook, queues: Queues, *, is_moved: bool) -> dict[str, Waiting]:
    """What waits for each variant, as admission counted it, and the time of the variant's batches.

    If what waits `is_moved` when its workers hang, it counts as far as it would wait wherever it was sent. A queue
    before one crew while another crew that serves the same model is free is a matter for assignment, and little reason
    to refuse anybody anything. So work counts as if its delay were the geometric mean of the delay where it waits and
    that at the freest crew.
    """
    least: dict[str, float] = {}
    here: dict[str, tuple[str, float]] = {}
    batch_s: dict[str, float] = {}
    for crew in outlook.all_crews():
        delay_s = crew.free_in_s + waiting_s(crew, queues)
        for offer in crew.offers:
            least[offer.model] = min(delay_s, least.get(offer.model, delay_s))
            _, before_s = here.get(offer.variant_id, ("", delay_s))
            here[offer.variant_id] = offer.model, min(delay_s, before_s)
            if offer.is_known:
                batch_s[offer.variant_id] = max(offer.batch_s, batch_s.get(offer.variant_id, 0.0))
    found = {}
    for name, queue in queues.items():
        if not len(queue):
            continue
        share = 1.0
        if is_moved and name in here:
            model, here_s = here[name]
            share = sqrt((least[model] + NEGLIGIBLE_S) / (here_s + NEGLIGIBLE_S))
        cost_s = queue.cost_s * share
        found[name] = Waiting(cost_s, cost_s * queue.hot.items / len(queue), batch_s.get(name, 0.0))
    return found
