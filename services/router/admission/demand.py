"""What admission knows of a request: before it is translated, at the edge, and after."""

from __future__ import annotations

from dataclasses import dataclass

from services.router.requests.caller import ANONYMOUS, Bundle, Caller


# Not frozen: one is made per request, and freezing triples the cost. Nobody changes one.
@dataclass(slots=True, kw_only=True)
class Demand:
    """`priority` lies in [0, 1]; `hot` ones are never shed by it. An empty `model` is not known yet.

    `generates` says that a generation is asked for, which is never served in place of anything else. `texts` come
    together, in which case each text is asked about alone later, with the same `bundle`. `minimum_tier` is a Tier's
    number.
    """

    priority: float
    hot: bool
    model: str = ""
    minimum_tier: int = 0
    generates: bool = False
    caller: Caller = ANONYMOUS
    conversation: str = ""
    bundle: Bundle | None = None
    texts: int = 1
