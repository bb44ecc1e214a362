"""The door: where a face asks about a request that it has only just read, before it does anything more for it.

Under overload most requests end here, so what happens here is what a refusal costs the router.
"""

from __future__ import annotations

from collections.abc import Callable

from services.router.admission.controller import AdmissionController
from services.router.admission.demand import EdgeDemand
from services.router.admission.rejection import Rejection
from services.router.observability.stats import RequestStats
from services.router.requests.caller import Bundle, Caller


class LoadShedder:
    """Refuses, and counts, what admission would refuse anyway. `hot_from` is the least priority of a hot request."""

    def __init__(
        self,
        *,
        admission: AdmissionController,
        ledger: RequestStats,
        hot_from: float,
        draining: Callable[[], bool],
        clock: Callable[[], float],
    ) -> None:
        self.draining = draining
        self._admission = admission
        self._ledger = ledger
        self.hot_from = hot_from
        self._clock = clock

    @property
    def may_reject(self) -> bool:
        """Whether anybody may be refused now: what to ask first, since most of the time nobody is."""
        return self._admission.is_shedding

    def refusal(
        self,
        *,
        priority: float,
        caller: Caller,
        model: str = "",
        minimum_tier: int = 0,
        generates: bool = False,
        conversation: str = "",
        bundle: Bundle | None = None,
        texts: int = 1,
    ) -> Rejection | None:
        """The refusal of `texts` that come together as `bundle`; None if they may go on.

        What may go on is not let in yet, and not counted. A draining router refuses by other means, and so does
        validation a priority or a tier that is none.
        """
        if not self._admission.is_shedding or self.draining() or not 0.0 <= priority <= 1.0:
            return None
        hot = priority >= self.hot_from
        demand = EdgeDemand(
            priority=priority,
            hot=hot,
            model=model,
            minimum_tier=minimum_tier,
            generates=generates,
            caller=caller,
            conversation_id=conversation,
            bundle=bundle,
            texts=texts,
        )
        found = self._admission.reject_early(demand, now=self._clock())
        if found is not None:
            self._ledger.count("", "", found.reason, "hot" if hot else "cold", times=texts)
        return found

    def unreadable(self, reason: str) -> None:
        """A request ended because nobody can read it; that is an outcome too."""
        self._ledger.count("", "", reason, "cold")
