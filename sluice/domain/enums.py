"""The nouns that requests and models share: tiers, query classes, tasks and degradation levels.

Their numbers are those of the contract, so translating one is a conversion and not a table.
"""

from __future__ import annotations

from enum import IntEnum


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
