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

from services.router.requests.device_pool import Pool

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


class Prices:
    """Prices by pool: `usual`, and `full` for those who name a query class.

    Tell it of every commitment, and let it take a step every `tick`.
    """

    def __init__(self) -> None:
        self.usual = [LOWEST for _ in Pool]
        self.full = [0.0 for _ in Pool]
        self.loads = [0.0 for _ in Pool]
        self._committed_s = [0.0 for _ in Pool]
        self._windows = [deque[float](maxlen=WINDOWS) for _ in Pool]

    def commit(self, pool: Pool, device_s: float) -> None:
        """A request was assigned that takes so many seconds of a device of `pool`."""
        self._committed_s[pool] += device_s

    def tick(self, elapsed_s: float, *, workers: Mapping[Pool, int], backlog_s: Mapping[Pool, float]) -> None:
        """Step after `elapsed_s`. `backlog_s` is the device time that waits in the queues of a pool's variants."""
        for pool in Pool:
            windows = self._windows[pool]
            windows.append(self._committed_s[pool] / max(elapsed_s, 1e-3))
            self._committed_s[pool] = 0.0
            wanted = sum(windows) / len(windows) + backlog_s[pool] / BACKLOG_S
            self.loads[pool] = wanted / workers[pool] if workers[pool] else 0.0
        least = min((load for pool, load in zip(Pool, self.loads, strict=True) if workers[pool]), default=0.0)
        for pool, load in zip(Pool, self.loads, strict=True):
            self.usual[pool] = max(LOWEST, next_price(self.usual[pool], load, least, USUAL))
            self.full[pool] = next_price(self.full[pool], load, least, FULL)
