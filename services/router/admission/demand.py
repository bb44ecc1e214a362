"""What admission knows of a request: before it is translated, at the edge, and after."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from services.router.requests.caller import ANONYMOUS, Bundle, Caller


class Demand(Protocol):
    """What admission reads; a translated request has it all.

    `priority` lies in [0, 1]; `hot` ones are never shed by it. An empty `model` is not known yet. `minimum_tier` is a
    Tier's number. `generates` says that a generation is asked for, which is never served in place of anything else.
    `texts` come together, in which case each text is asked about alone later, with the same `bundle`.
    """

    @property
    def priority(self) -> float: ...
    @property
    def hot(self) -> bool: ...
    @property
    def model(self) -> str: ...
    @property
    def minimum_tier(self) -> int: ...
    @property
    def generates(self) -> bool: ...
    @property
    def caller(self) -> Caller: ...
    @property
    def conversation_id(self) -> str: ...
    @property
    def bundle(self) -> Bundle | None: ...
    @property
    def texts(self) -> int: ...


# Not frozen: one is made per refusal, and freezing triples the cost. Nobody changes one.
@dataclass(slots=True, kw_only=True)
class EdgeDemand:
    """A demand by itself: of requests that are not translated yet."""

    priority: float
    hot: bool
    model: str = ""
    minimum_tier: int = 0
    generates: bool = False
    caller: Caller = ANONYMOUS
    conversation_id: str = ""
    bundle: Bundle | None = None
    texts: int = 1
