"""The precisions in which a model can be held: as operators order them, and by the names that variants report."""

from __future__ import annotations

from enum import IntEnum, StrEnum


class Precision(IntEnum):
    """What an order says, best first; the numbers are the contract's. OWN leaves the choice to each worker."""

    OWN = 0
    FULL = 1
    MIXED = 2
    FP8 = 3
    INT4 = 4

    @property
    def label(self) -> str:
        """Its name in commands, tables and logs: `full`, `mixed`, `fp8`, `int4`."""
        return self.name.lower()

    @property
    def held(self) -> str:
        """Its name in a variant: `fp32`, `mixed`, `fp8`, `int4`; empty for OWN."""
        return {Precision.OWN: "", Precision.FULL: "fp32"}.get(self, self.label)


class PrecisionMode(StrEnum):
    """What a worker's models are held in that have no precision of their own."""

    FULL = "full"
    MIXED = "mixed"
    FP8 = "fp8"
    INT4 = "int4"
    AUTO = "auto"

    @property
    def held(self) -> str:
        """Its name in a variant, empty for AUTO."""
        return "" if self is PrecisionMode.AUTO else Precision[self.name].held


def held_name(said: str) -> str:
    """The name in a variant of what a configuration says, which may be an operator's word: `full` is `fp32`."""
    return PrecisionMode.FULL.held if said == PrecisionMode.FULL else said
