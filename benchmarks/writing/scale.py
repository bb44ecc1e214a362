"""How large the benchmark is: as the targets ask, or so small that a CPU sees in seconds whether everything runs."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """`texts` are written at a time at most, of `text_tokens`, in `cache_gb` of memory; `budget_gb` bounds everything.

    `many` prompts of `prompt_tokens` (least, greatest) are written at once, `new_tokens` each. Of the `mixed` ones
    every twentieth has `long_tokens`. `streams` are kept open by `callers` processes through `routers`, for `warm_s`
    seconds that do not count and `window_s` that do.
    """

    smoke: bool
    texts: int
    text_tokens: int
    cache_gb: float
    budget_gb: float
    many: int
    prompt_tokens: tuple[int, int]
    new_tokens: int
    mixed: int
    long_tokens: int
    streams: int
    callers: int
    routers: int
    warm_s: float
    window_s: float

    @property
    def budget_bytes(self) -> int:
        """What of the device may be taken."""
        return int(self.budget_gb * 1e9)

    def content(self) -> dict[str, Any]:
        """For a file of results, and for the processes that take part."""
        return asdict(self)


FULL = Scale(
    smoke=False,
    texts=2640,
    text_tokens=32_768,
    cache_gb=60,
    budget_gb=80,
    many=512,
    prompt_tokens=(16, 512),
    new_tokens=128,
    mixed=200,
    long_tokens=32_000,
    streams=2100,
    callers=8,
    routers=4,
    warm_s=20,
    window_s=25,
)
SMOKE = Scale(
    smoke=True,
    texts=16,
    text_tokens=512,
    cache_gb=0.1,
    budget_gb=4,
    many=6,
    prompt_tokens=(4, 12),
    new_tokens=5,
    mixed=20,
    long_tokens=100,
    streams=8,
    callers=2,
    routers=2,
    warm_s=1,
    window_s=2,
)


def scale_of(*, smoke: bool) -> Scale:
    """The one or the other."""
    return SMOKE if smoke else FULL
