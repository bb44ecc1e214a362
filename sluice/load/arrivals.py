"""When requests arrive: a renewal process in a time in which one comes a unit, bent to the rate that is wanted.

A process of unit rate is drawn, and its instants are mapped through the inverse of the cumulative rate. For exponential
gaps that is an inhomogeneous Poisson process exactly (Çinlar 1975); for gamma gaps burstiness stays what it is at every
rate. Nothing here knows of answers, so a slow mesh cannot slow its own load down (no coordinated omission).
"""

from __future__ import annotations

import itertools
import random
import re
from collections.abc import Iterable, Iterator

from sluice.load.rate import Rate

ARRIVALS_GRAMMAR = "poisson, constant, or gamma:CV, such as gamma:3 for bursts with a coefficient of variation of 3"
_GAMMA = re.compile(r"gamma:(?P<cv>[\d.]+)")


def variation(arrivals: str) -> float:
    """The coefficient of variation of the gaps that `arrivals` names: 0, 1, or gamma's.

    Raises ValueError when it names none.
    """
    named = {"constant": 0.0, "poisson": 1.0}
    if arrivals in named:
        return named[arrivals]
    match = _GAMMA.fullmatch(arrivals)
    if match is None or not float(match["cv"]):
        raise ValueError(f"{arrivals!r} is no arrival process; there are {ARRIVALS_GRAMMAR}")
    return float(match["cv"])


def instants(arrivals: str, rate: Rate, *, duration_s: float, seed: int) -> Iterator[float]:
    """The arrivals' instants in seconds from the start, ascending, below `duration_s`. The same for the same seed."""
    bent = _bend(itertools.accumulate(_gaps(variation(arrivals), random.Random(seed))), rate)  # noqa: S311
    return itertools.takewhile(lambda instant_s: instant_s < duration_s, bent)


def _gaps(cv: float, dice: random.Random) -> Iterator[float]:
    if cv == 0:
        yield from itertools.repeat(1.0)
    elif cv == 1:
        while True:
            yield dice.expovariate(1.0)
    scale = cv * cv
    while True:
        yield dice.gammavariate(1 / scale, scale)


def _bend(units: Iterable[float], rate: Rate) -> Iterator[float]:
    """Instants at which the cumulative rate reaches `units`. Ends when the rate is 0 for ever."""
    begins = rate.steps
    place, passed = 0, 0.0
    for unit in units:
        while place + 1 < len(begins):
            begin_s, per_s = begins[place]
            end_s = begins[place + 1][0]
            if passed + (end_s - begin_s) * per_s > unit:
                break
            passed += (end_s - begin_s) * per_s
            place += 1
        begin_s, per_s = begins[place]
        if per_s == 0:
            return
        yield begin_s + (unit - passed) / per_s
