"""How far service is reduced: the levels in force, and one number for each."""

from __future__ import annotations

from dataclasses import dataclass

from sluice.tier import Level


@dataclass(frozen=True, slots=True, kw_only=True)
class Degradation:
    """`levels` is ascending and empty at full service; a number means something only while its level is in force."""

    levels: tuple[Level, ...] = ()
    offload_share: float = 0.0
    lighten_share: float = 0.0
    admit_scale: float = 1.0

    def effective(self) -> Degradation:
        """The same with numbers that change nothing where their level is not in force."""
        return Degradation(
            levels=self.levels,
            offload_share=self.offload_share if Level.OFFLOAD in self.levels else 0.0,
            lighten_share=self.lighten_share if Level.LIGHTEN in self.levels else 0.0,
            admit_scale=self.admit_scale if Level.ADMIT in self.levels else 1.0,
        )

    def united(self, other: Degradation) -> Degradation:
        """The levels of both, each as far as the one that goes further."""
        one, two = self.effective(), other.effective()
        return Degradation(
            levels=tuple(sorted({*one.levels, *two.levels})),
            offload_share=max(one.offload_share, two.offload_share),
            lighten_share=max(one.lighten_share, two.lighten_share),
            admit_scale=min(one.admit_scale, two.admit_scale),
        )

    def __str__(self) -> str:
        return ", ".join(level.name.lower() for level in self.levels) or "full service"


FULL_SERVICE = Degradation()
