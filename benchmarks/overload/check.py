"""What an experiment claims, and whether that holds."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One claim with its figure. `direction` marks those that hold on any machine, however short the run."""

    name: str
    target: str
    value: float | None
    passed: bool
    direction: bool = False


def at_least(name: str, value: float | None, bound: float, *, direction: bool = False) -> Check:
    """`value` is to reach `bound`. What was not measured has not."""
    passed = value is not None and value >= bound
    return Check(name=name, target=f">= {bound:g}", value=value, passed=passed, direction=direction)


def at_most(name: str, value: float | None, bound: float, *, direction: bool = False) -> Check:
    """`value` is not to pass `bound`. What was not measured has."""
    passed = value is not None and value <= bound
    return Check(name=name, target=f"<= {bound:g}", value=value, passed=passed, direction=direction)


def holds(name: str, passed: bool, *, direction: bool = True) -> Check:
    """Something that is so or not."""
    return Check(name=name, target="yes", value=float(passed), passed=passed, direction=direction)
