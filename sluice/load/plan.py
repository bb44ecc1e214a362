"""What a run does, whole: everything that its processes need to know, and that its results are read by."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from sluice.domain.enums import QueryClass, Tier
from sluice.load.mix import Mix
from sluice.load.policy import Policy
from sluice.load.rate import Rate
from sluice.load.retry import RetryLaw
from sluice.load.text import Text
from sluice.runtime.config import Section


class Plan(Section):
    """One run. Durations in seconds; instants in seconds from the run's start."""

    router: str
    """Where to ask, "HOST:PORT"."""
    model: str = ""
    """The model's name; empty: the router's default."""
    arrivals: str = "poisson"
    """How requests arrive, by the grammar of `sluice.load.arrivals`."""
    rate: tuple[tuple[float, float], ...]
    """Requests a second, as the steps of a `Rate` with its spikes in it."""
    duration_s: float = Field(gt=0)
    """How long new requests arrive."""
    seed: int = 1
    """Decides all that is drawn."""
    trace: Path | None = None
    """A recorded trace to replay in place of `arrivals` and `rate`."""
    face: Literal["stream", "unary"] = "stream"
    """InferStream, or a call of Infer each."""
    processes: int = Field(default=1, ge=1)
    """How many processes share the schedule."""
    connections: int = Field(default=1, ge=1)
    """Connections of each process."""
    deadline_s: float = Field(default=1.0, gt=0)
    """An answer is good if it comes within this, from the instant for which the request was scheduled."""
    attempt_s: float = Field(default=0.0, ge=0)
    """The time limit of one attempt; 0: what is left of the deadline."""
    retry: RetryLaw = RetryLaw()
    """What is tried again, and when."""
    hot: float = Field(default=0.2, ge=0, le=1)
    """Share of the requests, or conversations, whose priority is at or above 0.7."""
    classes: dict[QueryClass, float] = Field(default_factory=dict)
    """Weights of query classes. Empty: each text's own. UNSPECIFIED: texts that say no class."""
    texts: tuple[Text, ...]
    """What is asked."""
    policy: Policy = Policy()
    """Whether the mesh picks the tier, or this client does."""
    minimum_tier: Tier = Tier.UNSPECIFIED
    """The least tier that is acceptable."""
    turns: tuple[int, int] | None = None
    """The least and the most turns of a conversation. None: every request stands alone."""
    think_s: float = Field(default=0.5, ge=0)
    """Mean of the exponential pause between an answer and the next turn."""
    max_open: int = Field(default=20_000, ge=1)
    """The most requests of a process that may be open; what arrives beyond them has failed, and is counted so."""
    tick_s: float = Field(default=0.002, gt=0)
    """What comes due within this goes out together."""
    window_s: float = Field(default=1.0, gt=0)
    """The length of the windows that results are counted in."""

    @property
    def arriving(self) -> Rate:
        """What arrives, a second: requests, or conversations of as many requests."""
        rate = Rate(self.rate)
        return rate if self.turns is None else rate.scaled(2 / sum(self.turns))

    def mix(self) -> Mix:
        """What arrivals ask."""
        return Mix(self.texts, hot=self.hot, classes=self.classes, seed=self.seed)
