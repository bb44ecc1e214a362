"""The nouns that requests and models share: tiers, query classes, tasks and degradation levels.

Their numbers are those of the contract, so translating one is a conversion and not a table.
"""

from __future__ import annotations

from enum import IntEnum, StrEnum

# The precisions in which a model can be held: as operators order them, and by the names that variants report.


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


class Tier(IntEnum):
    """A kind of service, ordered by the quality it is expected to give."""

    # Each request looks things up by it, and an Enum's own hash is a call of Python.
    __hash__ = int.__hash__

    UNSPECIFIED = 0
    QUANTIZED = 1
    LIGHT = 2
    FULL = 3

    @property
    def label(self) -> str:
        """The tier's name in configuration, metrics and tables: `full`, `light`, `quantized`."""
        return self.name.lower()


class QueryClass(IntEnum):
    """What kind of question a request is."""

    __hash__ = int.__hash__

    UNSPECIFIED = 0
    SIMPLE = 1
    COMPLEX = 2
    REAL_TIME = 3

    @property
    def label(self) -> str:
        """The class's name in files and tables: `simple`, `complex`, `real_time`."""
        return self.name.lower()


class Task(IntEnum):
    """What a model does with a text."""

    UNSPECIFIED = 0
    TEXT_CLASSIFICATION = 1
    FEATURE_EXTRACTION = 2
    TEXT_GENERATION = 3


class Level(IntEnum):
    """A degradation level; several may be in force at once."""

    OFFLOAD = 1
    LIGHTEN = 2
    ADMIT = 3


class MemberKind(IntEnum):
    """Which of the programs that join a governor a member is."""

    ROUTER = 1
    GPU_WORKER = 2
    CPU_WORKER = 3
