"""How many requests a second are offered, over time: steps, and spikes that multiply them.

RATE  = R[,R@T]...   500            500 a second
                     300,900@10     300 a second, and 900 from second 10 on
SPIKE = Fx@T+D       5x@20+10       5 times as many for 10 seconds from second 20 on
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

_STEP = re.compile(r"(?P<rate>[\d.]+)(?:@(?P<at>[\d.]+))?")
_SPIKE = re.compile(r"(?P<factor>[\d.]+)x@(?P<at>[\d.]+)\+(?P<length>[\d.]+)")
RATE_GRAMMAR = "R[,R@T]..., such as 500 or 300,900@10,300@20"
SPIKE_GRAMMAR = "Fx@T+D, such as 5x@20+10: 5 times as many for 10 s from second 20 on"


@dataclass(frozen=True, slots=True, kw_only=True)
class Spike:
    """For `length_s` from `at_s` on, `factor` times as many."""

    factor: float
    at_s: float
    length_s: float


@dataclass(frozen=True, slots=True)
class Rate:
    """Requests a second as a step function: (instant in seconds, rate), ascending, the first at 0."""

    steps: tuple[tuple[float, float], ...]

    def at(self, instant_s: float) -> float:
        """The rate in force at an instant."""
        return next(rate for begin_s, rate in reversed(self.steps) if begin_s <= instant_s)

    def scaled(self, factor: float) -> Rate:
        """`factor` times as many at every instant."""
        return Rate(tuple((begin_s, rate * factor) for begin_s, rate in self.steps))

    def with_spikes(self, spikes: Sequence[Spike]) -> Rate:
        """This rate under all `spikes`; where they overlap they multiply."""
        edges = {begin_s for begin_s, _ in self.steps}
        edges |= {edge for spike in spikes for edge in (spike.at_s, spike.at_s + spike.length_s)}

        def factor(instant_s: float) -> float:
            return math.prod(one.factor for one in spikes if one.at_s <= instant_s < one.at_s + one.length_s)

        return Rate(tuple((edge, self.at(edge) * factor(edge)) for edge in sorted(edges)))


def parse_rate(text: str) -> Rate:
    """The rate that `text` describes. Raises ValueError when it is no RATE, or its instants do not ascend."""
    steps: list[tuple[float, float]] = []
    for part in text.split(","):
        match = _STEP.fullmatch(part.strip())
        if match is None or (match["at"] is None) != (not steps):
            raise ValueError(f"{text!r} is no rate; write {RATE_GRAMMAR}")
        at_s = float(match["at"] or 0)
        if steps and at_s <= steps[-1][0]:
            raise ValueError(f"{text!r}: the instants of a rate ascend")
        steps.append((at_s, float(match["rate"])))
    if not any(rate for _, rate in steps):
        raise ValueError(f"{text!r} offers nothing")
    return Rate(tuple(steps))


def parse_spike(text: str) -> Spike:
    """The spike that `text` describes. Raises ValueError when it is none."""
    match = _SPIKE.fullmatch(text)
    if match is None or not float(match["length"]):
        raise ValueError(f"{text!r} is no spike; write {SPIKE_GRAMMAR}")
    return Spike(factor=float(match["factor"]), at_s=float(match["at"]), length_s=float(match["length"]))
