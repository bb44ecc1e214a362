"""The schedule: a pure function of the plan, of which each process takes its part."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from sluice.load.arrivals import instants
from sluice.load.mix import Ask
from sluice.load.plan import Plan
from sluice.load.trace import read_trace


@dataclass(frozen=True, slots=True)
class Arrival:
    """Arrival `number` of the run, `at_s` seconds from its start; `turns` is more than 1 for a conversation."""

    number: int
    at_s: float
    ask: Ask
    turns: int = 1


def arrivals(plan: Plan, *, part: int = 0, parts: int = 1) -> Iterator[Arrival]:
    """Every `parts`-th arrival of the run from number `part` on. All parts together are the run, whatever `parts` is.

    Raises ConfigError when the plan's trace cannot be read.
    """
    mix = plan.mix()
    if plan.trace is not None:
        for number, recorded in enumerate(read_trace(plan.trace)):
            if recorded.at_s >= plan.duration_s:
                return
            if number % parts == part:
                yield Arrival(number, recorded.at_s, recorded.over(mix.ask(number)))
        return
    for number, at_s in enumerate(instants(plan.arrivals, plan.arriving, duration_s=plan.duration_s, seed=plan.seed)):
        if number % parts == part:
            turns = mix.turns(number, *plan.turns) if plan.turns else 1
            yield Arrival(number, at_s, mix.ask(number), turns)
