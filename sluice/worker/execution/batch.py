"""A batch as a worker holds it, from the moment it is taken until its outcomes are sent."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from sluice.worker.execution.backend import Item, Output


@dataclass(slots=True)
class BatchItem:
    """One item. `deadline` is an instant of the monotonic clock in seconds; `traceparent` is empty if untraced."""

    id: int
    item: Item
    deadline: float
    traceparent: str = ""


@dataclass(slots=True, kw_only=True)
class WorkerBatch:
    """One batch. `cancelled` grows until the batch is begun; `done` is set with its outcome."""

    variant_id: str
    items: list[BatchItem]
    taken_at: float
    done: asyncio.Future[BatchOutcome]
    traceparent: str = ""
    cancelled: set[int] = field(default_factory=set)


@dataclass(slots=True, kw_only=True)
class BatchOutcome:
    """A batch's outcome: one output per item by id, and where the time went, in seconds."""

    outputs: dict[int, Output]
    wait_s: float
    compute_s: float
