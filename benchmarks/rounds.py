"""Measurements in turn: what is compared is measured in the same minutes, so that the machine's moods hit all alike."""

from __future__ import annotations

import statistics
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

Leg = Callable[[], Awaitable[float]]
"""One measurement of one of the things that are compared."""


@dataclass(frozen=True, slots=True)
class Rounds:
    """What was measured: for each leg a value a round, in the order of the rounds."""

    values: Mapping[str, list[float]]

    def medians(self) -> dict[str, float]:
        """The median of each leg."""
        return {name: statistics.median(values) for name, values in self.values.items()}

    def ratio(self, name: str, reference: str) -> float:
        """The median over the rounds of one leg's value as a multiple of the other's in the same round."""
        return statistics.median(self.ratios(name, reference))

    def spread(self, name: str, reference: str) -> tuple[float, float]:
        """The least and the greatest of these multiples."""
        ratios = self.ratios(name, reference)
        return min(ratios), max(ratios)

    def ratios(self, name: str, reference: str) -> list[float]:
        """These multiples, a round each."""
        pairs = zip(self.values[name], self.values[reference], strict=True)
        return [value / other for value, other in pairs]


def measure_in_turn(legs: Mapping[str, Callable[[], float]], *, rounds: int) -> Rounds:
    """As `interleave`, for legs that block."""
    values: dict[str, list[float]] = {name: [] for name in legs}
    for name in _turns(legs, rounds):
        values[name].append(legs[name]())
    return Rounds(values)


async def interleave(legs: Mapping[str, Leg], *, rounds: int, tick: Callable[[int], None]) -> Rounds:
    """Measure all legs, one after the other, so many times; `tick` is told how many measurements are done.

    Every second round runs backwards, so that a steady drift of the machine's speed favours none of two.
    """
    values: dict[str, list[float]] = {name: [] for name in legs}
    for done, name in enumerate(_turns(legs, rounds), 1):
        values[name].append(await legs[name]())
        tick(done)
    return Rounds(values)


def _turns(names: Iterable[str], rounds: int) -> Iterator[str]:
    forwards = list(names)
    for number in range(rounds):
        yield from forwards if number % 2 == 0 else forwards[::-1]
