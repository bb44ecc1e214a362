"""A figure: what was measured, against what it should reach."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from benchmarks.rounds import Rounds

DIGITS = 4


@dataclass(frozen=True, slots=True)
class Target:
    """The least value that is wanted, or, with `at_most`, the greatest."""

    bound: float
    at_most: bool = False

    def is_met_by(self, value: float) -> bool:
        """Whether `value` is good enough. A value that is no number is not."""
        return value <= self.bound if self.at_most else value >= self.bound

    def __str__(self) -> str:
        return f"{'≤' if self.at_most else '≥'} {self.bound:g}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One line of the table. `how` says what was done; `spread` is the least and the greatest of all rounds.

    `target` is None where nothing is asked for. `medians` are the measurements behind `measured`, their units in their
    names; `notes` is what else a reader may want to know.
    """

    what: str
    target: Target | None
    measured: float
    how: str
    medians: Mapping[str, float] = field(default_factory=dict)
    spread: tuple[float, float] | None = None
    notes: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_met(self) -> bool | None:
        """Whether the target is reached; None without one."""
        return None if self.target is None else self.target.is_met_by(self.measured)

    def content(self) -> dict[str, Any]:
        """What the file of results says of it."""
        return {
            "what": self.what,
            "target": None if self.target is None else str(self.target),
            "measured": round(self.measured, DIGITS),
            "met": self.is_met,
            "how": self.how,
            "medians": {name: round(value, DIGITS) for name, value in self.medians.items()},
            "spread": [round(value, DIGITS) for value in self.spread] if self.spread else None,
            "notes": dict(self.notes),
        }


def ratio_figure(
    what: str,
    target: Target | None,
    rounds: Rounds,
    *,
    of: str,
    to: str,
    how: str,
    notes: Mapping[str, Any] | None = None,
) -> Figure:
    """The figure of one leg as a multiple of another."""
    return Figure(
        what=what,
        target=target,
        measured=rounds.ratio(of, to),
        how=how,
        medians=rounds.medians(),
        spread=rounds.spread(of, to),
        notes={"rounds": {name: [round(value, 2) for value in values] for name, values in rounds.values.items()}}
        | dict(notes or {}),
    )
