"""Who picks the tier: the mesh, or the client by itself, as clients do that know nothing better."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from sluice.domain.enums import QueryClass, Tier
from sluice.load.mix import Ask

HALF_LIFE_REQUESTS = 32
BACK_SHARE = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """`mesh` leaves the choice to the mesh. `full` and `light` ask for that tier, always. `switch` asks for the full
    tier until the mean latency that this client sees passes `above_ms`, and then for the light one until it falls
    below half of that.
    """

    kind: Literal["mesh", "full", "light", "switch"] = "mesh"
    above_ms: float = 0.0


class Chooser:
    """One client's policy at work."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._mean_ms = 0.0
        self._light = policy.kind == "light"

    def choose(self, ask: Ask) -> tuple[QueryClass, Tier]:
        """The class to ask with, and the least tier to accept."""
        if self._policy.kind == "mesh":
            return ask.query_class, Tier.UNSPECIFIED
        return (QueryClass.SIMPLE, Tier.UNSPECIFIED) if self._light else (QueryClass.COMPLEX, Tier.FULL)

    def saw(self, latency_ms: float) -> None:
        """A request has ended after so long."""
        if self._policy.kind == "switch":
            self._mean_ms += (latency_ms - self._mean_ms) * (1 - 0.5 ** (1 / HALF_LIFE_REQUESTS))
            above = self._policy.above_ms
            self._light = self._mean_ms > (above * BACK_SHARE if self._light else above)
