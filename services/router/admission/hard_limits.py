"""What bounds memory and time whatever the adaptive limit thinks: requests and bytes that are open, work that waits.

The last part of each bound is kept for hot requests. No caller, and of several models none, fills a bound alone: each
may hold four times what is free at the moment (dynamic thresholds, Choudhury and Hahne, IEEE/ACM ToN 1998), so that a
lone one has four fifths, two have four ninths each, and whoever comes finds room in proportion.
"""

from __future__ import annotations

from typing import NamedTuple

HOT_RESERVE = 0.1
HOT_WORK_RESERVE = 1 / 3
# What one may hold, in multiples of what is free.
ALPHA = 4.0
# Up to this part of a bound nobody can have more than that.
UNCONTENDED = ALPHA / (1.0 + ALPHA)
NOBODY = ""


class Queued(NamedTuple):
    """Device-seconds that a caller has waiting, and how many callers wait; none when that is not known."""

    own_s: float = 0.0
    callers: int = 0


NOT_KNOWN = Queued()


class _Holding:
    __slots__ = ("requests", "size")

    def __init__(self) -> None:
        self.requests = 0
        self.size = 0


class HardLimits:
    """Requests and bytes that are open, in all, by caller and by model. An empty name is nobody's in particular.

    `several_models` says that there are others whom one model could shut out.
    """

    __slots__ = (
        "_admit_scale", "_callers", "_max_bytes", "_max_requests", "_models", "_roomy_bytes", "_roomy_requests",
        "requests", "several_models", "size",
    )  # fmt: skip

    def __init__(self, *, max_requests: int, max_bytes: int) -> None:
        self.requests = 0
        self.size = 0
        self.several_models = False
        self._callers: dict[str, _Holding] = {}
        self._models: dict[str, _Holding] = {}
        self._max_requests = max_requests
        self._max_bytes = max_bytes
        self.scale(1.0)

    def scale(self, admit_scale: float) -> None:
        """Leave cold requests this share, in [0, 1], of the room that they have otherwise."""
        self._admit_scale = admit_scale
        share = UNCONTENDED * (1.0 - HOT_RESERVE) * admit_scale
        self._roomy_requests, self._roomy_bytes = self._max_requests * share, self._max_bytes * share

    def is_roomy(self, size: int = 0) -> bool:
        """Whether there is room for `size` bytes of anybody, whoever it is and whatever else it holds."""
        return self.requests < self._roomy_requests and self.size + size < self._roomy_bytes

    def has_room(self, size: int, *, hot: bool, caller: str, model: str) -> bool:
        """Whether one more request of `size` bytes may be open. Cold ones have less room."""
        if self.is_roomy(size):
            return True
        share = 1.0 if hot else (1.0 - HOT_RESERVE) * self._admit_scale
        free = self._max_requests * share - self.requests
        free_bytes = self._max_bytes * share - self.size
        if free <= 0 or size > free_bytes:
            return False
        holders = [self._callers.get(caller)] if caller != NOBODY else []
        if self.several_models and model != NOBODY:
            holders.append(self._models.get(model))
        return all(
            one is None or (one.requests < ALPHA * free and one.size + size <= ALPHA * free_bytes) for one in holders
        )

    def take(self, size: int, *, caller: str, model: str) -> None:
        """A request is open."""
        self.requests += 1
        self.size += size
        by_caller = self._callers.get(caller)
        if by_caller is None:
            by_caller = self._callers[caller] = _Holding()
        by_caller.requests += 1
        by_caller.size += size
        by_model = self._models.get(model)
        if by_model is None:
            by_model = self._models[model] = _Holding()
        by_model.requests += 1
        by_model.size += size

    def free(self, size: int, *, caller: str, model: str) -> None:
        """A request has ended."""
        self.requests -= 1
        self.size -= size
        by_caller, by_model = self._callers[caller], self._models[model]
        by_caller.requests -= 1
        by_caller.size -= size
        if not by_caller.requests:
            del self._callers[caller]
        by_model.requests -= 1
        by_model.size -= size
        if not by_model.requests:
            del self._models[model]


class WaitingLimit:
    """Work that waits for one resource, in device-seconds; `most` infinite is no bound.

    There is room for anybody, whoever it is, while `waiting` is no more than `roomy`. Hot work waits for hot work only,
    which it does not overtake; so what cold work waits never shuts it out.
    """

    __slots__ = ("_admit_scale", "_hot", "_most", "roomy", "waiting")

    def __init__(self) -> None:
        self.waiting = 0.0
        self._hot = 0.0
        self.bound(float("inf"))

    def bound(self, most: float, *, admit_scale: float = 1.0) -> None:
        """Let no more than `most` wait, and leave cold work this share, in [0, 1], of what it has of that otherwise."""
        self._most, self._admit_scale = most, admit_scale
        self.roomy = UNCONTENDED * self._room(hot=False)

    @property
    def is_roomy(self) -> bool:
        """Whether there is room for anybody, whoever it is and whatever else it has waiting."""
        return self.waiting <= self.roomy

    @property
    def most(self) -> float:
        """The most that may wait."""
        return self._most

    def has_room(self, queued: Queued, cost: float, *, hot: bool) -> bool:
        """Whether `cost` more may wait of a caller who has that `queued`.

        Beyond the bound, which a flood may have passed before it was known, each has its equal part all the same:
        fair queueing serves that before the flood, within the time that the bound stands for.
        """
        room = self._room(hot=hot)
        free = room - (self._hot if hot else self.waiting)
        if free >= 0.0 and (queued.own_s <= 0.0 or queued.own_s <= ALPHA * free):
            return True
        return queued.callers > 0 and queued.own_s + cost <= room / (queued.callers + 1)

    def take(self, cost: float, *, hot: bool) -> None:
        """Work waits."""
        self.waiting += cost
        if hot:
            self._hot += cost

    def worked_off(self, cost: float) -> None:
        """So much of the work that waited does no more. Nobody says whose it was, and hot work goes first."""
        self.waiting = max(0.0, self.waiting - cost)
        self._hot = max(0.0, self._hot - cost)

    def found(self, waiting: float, *, hot_share: float) -> None:
        """So much work waits in truth; `hot_share` of it, in [0, 1], is hot."""
        self.waiting = waiting
        self._hot = waiting * hot_share

    def _room(self, *, hot: bool) -> float:
        return self._most if hot else self._most * (1.0 - HOT_WORK_RESERVE) * self._admit_scale
