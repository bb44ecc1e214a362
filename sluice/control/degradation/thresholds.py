"""Where the levels come and go: the mission's figures by default, and settable."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from sluice.runtime.config import Section

# What must lie below what, or a level would leave on the very signal on which it came.
_ASCENDING = (
    ("utilization_exit", "utilization_enter"),
    ("memory_exit", "memory_enter"),
    ("memory_enter", "memory_full"),
    ("queue_enter", "queue_far"),
)


class Thresholds(Section):
    """Ratios of the laws of degradation, and for how long each must be seen."""

    utilization_enter: float = Field(default=0.90, gt=0, le=1)
    """Level 1 comes when the accelerators' mean utilisation is above it."""
    utilization_for_s: float = Field(default=1.0, ge=0, le=600)
    """For how long."""
    utilization_exit: float = Field(default=0.80, gt=0, le=1)
    """Level 1 goes when the utilisation, with the diverted work added back, is below it."""
    utilization_clear_s: float = Field(default=5.0, ge=0, le=600)
    """For how long."""
    queue_enter: float = Field(default=0.125, gt=0, le=1)
    """Level 1 comes too when requests wait longer than this part of their median time limit."""
    queue_for_s: float = Field(default=0.3, ge=0, le=600)
    """For how long."""
    offload_hold_s: float = Field(default=10.0, ge=0, le=120)
    """How long level 1 stays at least; this and the other holds double when the level returns within a minute."""
    memory_enter: float = Field(default=0.85, gt=0, le=1)
    """Level 2 comes when an accelerator worker's memory is at or above it."""
    memory_for_s: float = Field(default=0.3, ge=0, le=600)
    """For how long."""
    memory_exit: float = Field(default=0.75, gt=0, le=1)
    """Level 2 goes when memory, with the full models added back, is below it."""
    memory_clear_s: float = Field(default=15.0, ge=0, le=600)
    """For how long."""
    lower_for_s: float = Field(default=5.0, ge=0, le=600)
    """How long lower precisions have to bring memory below `memory_enter`, where they can, before copies take over."""
    lighten_hold_s: float = Field(default=30.0, ge=0, le=120)
    """How long level 2 stays at least."""
    memory_full: float = Field(default=0.95, gt=0, le=1)
    """Level 3 comes at once when any worker's memory is at or above it."""
    overload_for_s: float = Field(default=3.0, ge=0, le=600)
    """Level 3 comes when, with level 1 or 2 in force, there is overload for so long: a queue stands, or more than
    `overload_share` of the requests miss their deadlines or are refused."""
    queue_target_ms: float = Field(default=20.0, gt=0, le=60_000)
    """A queue stands when nothing waits less than this, or than an eighth of the median time limit if it is more."""
    overload_share: float = Field(default=0.05, gt=0, le=1)
    """The share of missed or of refused requests that counts as overload."""
    queue_far: float = Field(default=0.5, gt=0, le=1)
    """Level 3 comes too when everything waits longer than this part of the median time limit."""
    queue_far_for_s: float = Field(default=0.5, ge=0, le=600)
    """For how long."""
    admit_clear_s: float = Field(default=10.0, ge=0, le=600)
    """Level 3 goes when for so long nothing was refused and the queue was short."""
    admit_hold_s: float = Field(default=10.0, ge=0, le=120)
    """How long level 3 stays at least."""
    release_every_s: float = Field(default=5.0, ge=0, le=600)
    """One level at most goes in so long, the highest first."""

    @model_validator(mode="after")
    def _exits_lie_below_entries(self) -> Self:
        for lower, upper in _ASCENDING:
            below, above = getattr(self, lower), getattr(self, upper)
            if not below < above:
                raise ValueError(f"{lower} {below:g} must lie below {upper} {above:g}, or the level would flap")
        return self

    def queue_target_s(self, median_timeout_s: float | None) -> float:
        """What a queue's delay should stay below, in seconds."""
        return max(self.queue_target_ms / 1000, QUEUE_TARGET_SHARE * (median_timeout_s or 0.0))


QUEUE_TARGET_SHARE = 0.125
DEFAULT_THRESHOLDS = Thresholds()
