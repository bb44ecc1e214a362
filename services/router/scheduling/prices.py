"""Prices of device time, one for each pool: what a second of it must be worth to a request that wants it.

A price is the dual variable of the constraint that a pool's committed time stays below a share of its capacity, which
projected subgradient steps follow (Bertsekas, Nonlinear Programming, 1999, 6.3). Each request then takes the variant
that is worth most to it at these prices, which together comes near the best assignment of all without a solver.

There are two constraints, and so two prices. Who leaves the choice to the router pays the usual one, which keeps a pool
at four fifths; who names a query class pays only when the pool is all but full.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from math import sqrt

from services.router.admission.resource import Waiting
from services.router.queueing.queue import VariantQueue
from services.router.requests.device_pool import DevicePool
from services.router.scheduling.capacity_snapshot import CapacitySnapshot, WorkerGroupCapacity

# How congested the mesh is: what waits for each pool, and how much of it waits because nobody at all is free. Pure.


# Delays shorter than this are alike.
NEGLIGIBLE_S = 0.005

Queues = Mapping[str, VariantQueue]


def backlog_s(outlook: CapacitySnapshot, queues: Queues) -> dict[DevicePool, float]:
    """Seconds of a device that wait for each pool's workers."""
    found = dict.fromkeys(DevicePool, 0.0)
    for crew in outlook.all_crews():
        found[crew.pool] += waiting_s(crew, queues) * crew.workers
    return found


def waiting_s(crew: WorkerGroupCapacity, queues: Queues) -> float:
    """Seconds that what waits keeps each of the crew's workers busy."""
    waiting = [(offer, queues[offer.variant_id]) for offer in crew.offers if offer.variant_id in queues]
    return sum(
        (queue.hot.tokens + queue.cold.tokens) * offer.token_s / offer.workers
        for offer, queue in waiting
        if offer.is_known
    )


def waiting_by_variant(outlook: CapacitySnapshot, queues: Queues, *, is_moved: bool) -> dict[str, Waiting]:
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


USUAL = 0.80
FULL = 0.95
STEP = 0.2
HIGHEST = 5.0
# At this price the cheapest variant of a model is worth most to everybody.
ENOUGH = 1.0
# An idle device still costs something: of two variants that answer equally well, the cheaper one is taken.
LOWEST = 0.02
WINDOWS = 5
# A queue of so many seconds of work weighs as much as a pool's whole capacity.
BACKLOG_S = 1.0


def next_price(price: float, load: float, least_load: float, target: float) -> float:
    """The price of a pool a step later, at its `load` and the `least_load` of all pools: committed over possible time.

    When every pool is beyond the `target` no price can bring all below it. What they share then raises prices no
    further than ENOUGH, and what one is beyond the others goes on to count, so that they come to be loaded alike.
    """
    shared = max(0.0, least_load - target)
    step = load - target - shared
    if shared and price < ENOUGH:
        step += shared
    return min(HIGHEST, max(0.0, price + STEP * step))


class PoolPrices:
    """Prices by pool: `usual`, and `full` for those who name a query class.

    Tell it of every commitment, and let it take a step every `tick`.
    """

    def __init__(self) -> None:
        self.usual = [LOWEST for _ in DevicePool]
        self.full = [0.0 for _ in DevicePool]
        self.loads = [0.0 for _ in DevicePool]
        self._committed_s = [0.0 for _ in DevicePool]
        self._windows = [deque[float](maxlen=WINDOWS) for _ in DevicePool]

    def commit(self, pool: DevicePool, device_s: float) -> None:
        """A request was assigned that takes so many seconds of a device of `pool`."""
        self._committed_s[pool] += device_s

    def tick(
        self, elapsed_s: float, *, workers: Mapping[DevicePool, int], backlog_s: Mapping[DevicePool, float]
    ) -> None:
        """Step after `elapsed_s`. `backlog_s` is the device time that waits in the queues of a pool's variants."""
        for pool in DevicePool:
            windows = self._windows[pool]
            windows.append(self._committed_s[pool] / max(elapsed_s, 1e-3))
            self._committed_s[pool] = 0.0
            wanted = sum(windows) / len(windows) + backlog_s[pool] / BACKLOG_S
            self.loads[pool] = wanted / workers[pool] if workers[pool] else 0.0
        least = min((load for pool, load in zip(DevicePool, self.loads, strict=True) if workers[pool]), default=0.0)
        for pool, load in zip(DevicePool, self.loads, strict=True):
            self.usual[pool] = max(LOWEST, next_price(self.usual[pool], load, least, USUAL))
            self.full[pool] = next_price(self.full[pool], load, least, FULL)
