"""How much work is placed on each variant just now, so that an estimate knows who else will join a batch."""

from __future__ import annotations

from math import exp2

HALF_LIFE_S = 0.2
# Tokens a second that are as good as none; a variant with fewer is forgotten.
NEGLIGIBLE = 1e-3


class Flow:
    """Tokens a second by variant, exponentially weighted. Clocks are arguments, in seconds."""

    def __init__(self) -> None:
        self._rates: dict[str, float] = {}
        self._placed: dict[str, int] = {}
        self._rolled_at = float("-inf")

    def place(self, variant_id: str, tokens: int) -> None:
        """A request of so many tokens was placed on the variant."""
        self._placed[variant_id] = self._placed.get(variant_id, 0) + tokens

    def roll(self, now: float) -> None:
        """Bring the rates up to date."""
        elapsed_s = now - self._rolled_at
        if elapsed_s <= 0.0:
            return
        weight = 1.0 - exp2(-elapsed_s / HALF_LIFE_S)
        for name in self._rates.keys() | self._placed.keys():
            before = self._rates.get(name, 0.0)
            rate = before + weight * (self._placed.get(name, 0) / elapsed_s - before)
            self._rates[name] = rate
            if rate < NEGLIGIBLE:
                del self._rates[name]
        self._placed.clear()
        self._rolled_at = now

    def rate(self, variant_id: str) -> float:
        """Tokens a second, as of the last roll."""
        return self._rates.get(variant_id, 0.0)
