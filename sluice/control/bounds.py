"""The bounds of the control plane's messages, as the protos state them, checked where a message is read.

The governor checks what members and operators send, and members check what the governor sends. Errors are ValueErrors
that begin with the field's name.
"""

from __future__ import annotations

from collections.abc import Iterable, Sized
from datetime import UTC, datetime
from enum import IntEnum
from typing import TypeVar

from google.protobuf.timestamp_pb2 import Timestamp

from sluice.domain.enums import Level

MAX_ID_BYTES = 256
MAX_ADDRESS_BYTES = 512
MAX_REASON_BYTES = 1_024
# What stands before an operator's reason must have room too.
MAX_OPERATOR_REASON_BYTES = 1_000
MAX_TROUBLE_BYTES = 4_096
MAX_LEVELS = 16
MAX_MEMBERS = 65_536
MAX_LEASE_S = 600.0
MIN_REPORT_INTERVAL_S = 0.01
MAX_REPORT_INTERVAL_S = 60.0
MAX_WATCH_INTERVAL_S = 3_600.0

EnumType = TypeVar("EnumType", bound=IntEnum)


def text(field: str, value: str, *, most: int) -> str:
    """`value`, if it has at most `most` bytes. Raises ValueError."""
    # A character has at most four bytes, so short texts need no encoding to be measured.
    if len(value) * 4 > most and (size := len(value.encode(errors="replace"))) > most:
        raise ValueError(f"{field}: it has {size} bytes, and {most} is the most")
    return value


def cut(value: str, *, most: int) -> str:
    """As much of `value` as `most` bytes hold."""
    return value.encode(errors="replace")[:most].decode(errors="ignore")


def count(field: str, value: Sized, *, most: int) -> None:
    """Raises ValueError if `value` has more than `most` elements."""
    if len(value) > most:
        raise ValueError(f"{field}: there are {len(value)}, and {most} is the most")


def ratio(field: str, value: float) -> float:
    """`value`, if it lies in [0, 1], which NaN does not. Raises ValueError."""
    return number(field, value, 0.0, 1.0)


def number(field: str, value: float, least: float, most: float, *, unit: str = "") -> float:
    """`value`, if it lies in [least, most], which NaN does not. Raises ValueError."""
    if not least <= value <= most:
        raise ValueError(f"{field}: it is {value}{unit}, and must lie in [{least:g}, {most:g}]")
    return value


def enum(field: str, kind: type[EnumType], value: int) -> EnumType:
    """`value` as one of `kind`. Raises ValueError."""
    try:
        return kind(value)
    except ValueError:
        raise ValueError(f"{field}: this release knows no number {value}") from None


def levels(field: str, values: Iterable[int]) -> tuple[Level, ...]:
    """The levels, ascending and each once. Raises ValueError for unknown ones, and for very many."""
    given = list(values)
    count(field, given, most=MAX_LEVELS)
    return tuple(sorted({enum(field, Level, one) for one in given}))


def instant(field: str, value: Timestamp) -> datetime:
    """`value` as an instant. Raises ValueError if no calendar has it."""
    try:
        return value.ToDatetime(UTC)
    except (ValueError, OverflowError) as error:
        raise ValueError(f"{field}: {error}") from None


def inside(prefix: str, error: ValueError) -> ValueError:
    """The same error of a field that lies within `prefix`."""
    return ValueError(f"{prefix}.{error}")


def field_of(error: ValueError, *, otherwise: str) -> str:
    """The field that an error of this module, or of a variant's, names."""
    name, colon, _ = str(error).partition(": ")
    return name if colon and " " not in name else otherwise
