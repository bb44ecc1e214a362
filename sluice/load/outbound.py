"""Asks as messages. One is made for each thing that is asked, and then copied."""

from __future__ import annotations

from sluice.domain.enums import QueryClass, Tier
from sluice.load.mix import Ask
from sluice.load.plan import Plan
from sluice.load.policy import Chooser
from sluice.v1 import inference_service_pb2 as inference_pb2


class Outbound:
    """Makes the messages of a plan's asks, by the plan's policy and minimum tier."""

    def __init__(self, plan: Plan) -> None:
        self.chooser = Chooser(plan.policy)
        self._model = plan.model
        self._minimum_tier = plan.minimum_tier
        # By the ask's identity, which is faster than its value; so the ask is kept beside its message.
        self._made: dict[tuple[int, QueryClass, Tier], tuple[Ask, inference_pb2.InferRequest]] = {}

    def message(self, ask: Ask) -> inference_pb2.InferRequest:
        """What asks `ask` now. Never to be changed."""
        query_class, tier = self.chooser.choose(ask)
        key = (id(ask), query_class, tier)
        made = self._made.get(key)
        if made is None:
            made = self._made[key] = (ask, self._make(ask, query_class, max(tier, self._minimum_tier)))
        return made[1]

    def _make(self, ask: Ask, query_class: QueryClass, tier: Tier) -> inference_pb2.InferRequest:
        return inference_pb2.InferRequest(
            model=self._model,
            text=ask.text.text,
            priority=ask.priority,
            query_class=query_class.value,  # type: ignore[arg-type]
            minimum_tier=tier.value,  # type: ignore[arg-type]
        )
