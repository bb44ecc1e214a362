"""One checkpoint that may be in memory or not, and may serve or not: what is remembered of it between swaps."""

from __future__ import annotations

from sluice.worker.execution.backend import ModelSpec
from sluice.worker.execution.generation_runner import Servable, Writer
from sluice.worker.models.compatibility import Likeness
from sluice.worker.models.swap_policy import Place, Side

FIRST_BAR_S = 5.0
LONGEST_BAR_S = 300.0


class Slot:
    """`held` is in memory unless it is None, and serves since `served_at` unless that is None.

    After a failure loading is barred, each time for twice as long, and `trouble` says why until a loading succeeds.
    `name` is what logs call it. One that is `tried` has been loaded before, so that another may go for it.
    """

    def __init__(self, spec: ModelSpec, *, name: str, size_bytes: float, tried: bool = True) -> None:
        self.spec = spec
        self.name = name
        self.size_bytes = size_bytes
        self.held: Servable | None = None
        self.served_at: float | None = None
        self.likeness: Likeness | None = None
        self.trouble = ""
        self._failures = 0
        self._tried = tried
        self._barred_until = float("-inf")

    def side(self, now: float, *, stays: bool = False) -> Side:
        """The slot as decisions see it."""
        return Side(
            place=self.place,
            size_bytes=self.size_bytes,
            stays=stays,
            barred=now < self._barred_until,
            proven=self._tried and not self._failures,
        )

    @property
    def place(self) -> Place:
        """Where it is."""
        if self.held is None:
            return Place.DISK
        return Place.MEMORY if self.served_at is None else Place.SERVING

    @property
    def is_writing(self) -> bool:
        """Whether texts are being written with it."""
        return isinstance(self.held, Writer) and not self.held.finished.is_set()

    def loaded(self, servable: Servable) -> None:
        """It is in memory, warm and examined."""
        self.held = servable
        self._tried = True
        self.trouble = ""
        self._failures = 0

    def gone(self) -> None:
        """It is in memory no more."""
        self.held = self.served_at = None

    def failed(self, why: str, now: float) -> float:
        """It could not be moved; returns for how long its loading is barred, in seconds."""
        bar_s = min(LONGEST_BAR_S, FIRST_BAR_S * 2.0**self._failures)
        self.trouble = why
        self._failures += 1
        self._barred_until = now + bar_s
        return bar_s
