"""Level 2: distilled copies answer in place of full models, whose memory is then released.

Memory falls when the level comes, so it goes only when there would be room with the full models back. Its share is
all: as long as any work is left to a full model, none of its memory is released.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from sluice.degradation.latch import OPEN, Latch
from sluice.degradation.signals import Signals
from sluice.degradation.sustained import NEVER, Sustained
from sluice.degradation.thresholds import Thresholds

SHARE = 1.0


@dataclass(frozen=True, slots=True)
class Lighten:
    """The law's memory. A smaller `share` is one that was taken over."""

    latch: Latch = OPEN
    share: float = SHARE
    is_tight: Sustained = NEVER
    is_clear: Sustained = NEVER

    def step(self, signals: Signals, now: float, limits: Thresholds) -> tuple[Lighten, str]:
        """After one more reading; why the level came, or an empty string."""
        memory = signals.memory
        law = replace(
            self,
            is_tight=self.is_tight.step(memory is not None and memory >= limits.memory_enter, now),
            is_clear=self.is_clear.step(_looks_clear(signals, limits), now),
        )
        if not law.is_tight.lasts(limits.memory_for_s, now):
            return law, ""
        latch = self.latch.close(now, hold_s=limits.lighten_hold_s)
        if self.latch.on:
            return replace(law, latch=latch, share=SHARE), ""
        why = f"memory {memory:.2f} >= {limits.memory_enter:g} for {limits.memory_for_s:g} s"
        return replace(law, latch=latch, share=SHARE, is_clear=NEVER), why

    def may_go(self, now: float, limits: Thresholds) -> bool:
        """Whether the level has stayed long enough and is no longer needed."""
        return self.latch.may_open(now) and self.is_clear.lasts(limits.memory_clear_s, now)

    def why_gone(self, signals: Signals, limits: Thresholds) -> str:
        """What a log says when it goes."""
        return f"memory {signals.memory:.2f} + {signals.full_reload_ratio:.2f} to reload < {limits.memory_exit:g}"


def _looks_clear(signals: Signals, limits: Thresholds) -> bool:
    return signals.memory is not None and signals.memory + signals.full_reload_ratio < limits.memory_exit
