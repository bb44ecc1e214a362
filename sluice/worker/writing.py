"""A text as a worker holds it, from the moment it is taken until its last piece is sent."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from sluice.worker.execution.generator import Piece, Prompt


# Compared by identity: two texts with the same words are two texts.
@dataclass(slots=True, kw_only=True, eq=False)
class Writing:
    """One text. `number` is its router's name for it, `key` its writer's; times are of the monotonic clock in seconds.

    `begun_at` is when it got its memory, None before; `timer` rings at its deadline, and `is_late` when it has.
    """

    number: int
    variant_id: str
    prompt: Prompt
    owner: Owner
    taken_at: float
    timeout_s: float | None = None
    traceparent: str = ""
    key: int = 0
    begun_at: float | None = None
    timer: asyncio.TimerHandle | None = None
    is_late: bool = False


class Owner(Protocol):
    """Who waits for a text."""

    def hear(self, heard: Sequence[tuple[Writing, Piece]]) -> None:
        """What one step of the device wrote for the owner. Called on the event loop."""
