"""How a request can end, as its user sees it."""

from __future__ import annotations

from enum import StrEnum


class Kind(StrEnum):
    """Each offered request ends in exactly one of these. Only OK is good."""

    OK = "ok"
    """Answered within the deadline."""
    LATE = "late"
    """Answered, but too late."""
    REFUSED = "refused"
    """RESOURCE_EXHAUSTED at last."""
    EXPIRED = "expired"
    """DEADLINE_EXCEEDED at last, said by the mesh."""
    SILENT = "silent"
    """Nothing came, not even a refusal."""
    FAILED = "failed"
    """Any other status at last."""
    UNSENT = "unsent"
    """Never sent, because too many were open or the generator was too late: no answer, so a failure."""


POOLS = ("hot", "cold")


def pool_of(hot: bool) -> str:
    """`hot` or `cold`."""
    return POOLS[0] if hot else POOLS[1]
