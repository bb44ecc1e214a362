"""How far service is reduced: the levels in force, and one number for each."""

from __future__ import annotations

from dataclasses import dataclass

from sluice.domain.enums import Level, Precision


@dataclass(frozen=True, slots=True, kw_only=True)
class DegradationState:
    """`levels` is ascending and empty at full service; a number means something only while its level is in force.

    Level LIGHTEN has two steps: with a `lighten_share` of 0 full models are only held in a lower precision, which is
    each worker's own unless `precision` orders one.
    """

    levels: tuple[Level, ...] = ()
    offload_share: float = 0.0
    lighten_share: float = 0.0
    admit_scale: float = 1.0
    precision: Precision = Precision.OWN

    def effective(self) -> DegradationState:
        """The same with numbers that change nothing where their level is not in force."""
        return DegradationState(
            levels=self.levels,
            offload_share=self.offload_share if Level.OFFLOAD in self.levels else 0.0,
            lighten_share=self.lighten_share if Level.LIGHTEN in self.levels else 0.0,
            admit_scale=self.admit_scale if Level.ADMIT in self.levels else 1.0,
            precision=self.precision if Level.LIGHTEN in self.levels else Precision.OWN,
        )

    def united(self, other: DegradationState) -> DegradationState:
        """The levels of both, each as far as the one that goes further."""
        one, two = self.effective(), other.effective()
        return DegradationState(
            levels=tuple(sorted({*one.levels, *two.levels})),
            offload_share=max(one.offload_share, two.offload_share),
            lighten_share=max(one.lighten_share, two.lighten_share),
            admit_scale=min(one.admit_scale, two.admit_scale),
            precision=max(one.precision, two.precision),
        )

    def is_another_step_than(self, other: DegradationState) -> bool:
        """Whether the two differ in more than a number: in a level, in the step of one, or in the precision."""
        one, two = self.effective(), other.effective()
        return (one.levels, one.precision, one.lowers_only) != (two.levels, two.precision, two.lowers_only)

    @property
    def lowers_only(self) -> bool:
        """Whether full models are held in a lower precision, and none gives way to a copy."""
        return Level.LIGHTEN in self.levels and self.lighten_share == 0.0

    def __str__(self) -> str:
        return ", ".join(map(self.named, self.levels)) or "full service"

    def named(self, level: Level) -> str:
        """What `level` is called, with the step and the precision of level 2."""
        name = level.name.lower()
        if level is not Level.LIGHTEN:
            return name
        if self.precision is not Precision.OWN:
            return f"{name} to {self.precision.label}" + ("" if self.lowers_only else " and copies")
        return f"{name} by precision" if self.lowers_only else name


FULL_SERVICE = DegradationState()
