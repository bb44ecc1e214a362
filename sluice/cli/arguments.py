"""Numbers on the command line, refused there when they cannot be meant."""

from __future__ import annotations

import argparse
import math


def seconds(text: str) -> float:
    """A duration: more than nothing."""
    value = _number(text)
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"{text} is no number of seconds above 0")
    return value


def pause(text: str) -> float:
    """A duration that may be nothing."""
    value = _number(text)
    if not 0 <= value < math.inf:
        raise argparse.ArgumentTypeError(f"{text} is no number of seconds from 0 on")
    return value


def milliseconds(text: str) -> float:
    """A duration in milliseconds, more than nothing, as seconds."""
    value = _number(text)
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"{text} is no number of milliseconds above 0")
    return value / 1000


def share(text: str) -> float:
    """A number from 0 to 1."""
    value = _number(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text} does not lie between 0 and 1")
    return value


def part(text: str) -> float:
    """A number above 0, at most 1: none of something is no part of it."""
    value = share(text)
    if value == 0:
        raise argparse.ArgumentTypeError(f"{text} is no part; it lies above 0, and 1 is all")
    return value


def count(text: str) -> int:
    """A whole number, 1 or more, that a message can hold."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is no whole number above 0")
    if int(text) >= 1 << 32:
        raise argparse.ArgumentTypeError(f"{text} is more than anybody can mean")
    return int(text)


def whole(text: str) -> int:
    """A whole number, 0 or more, that a message can hold."""
    if not text.isdecimal() or int(text) >= 1 << 64:
        raise argparse.ArgumentTypeError(f"{text} is no whole number from 0 to 2^64 - 1")
    return int(text)


def temperature(text: str) -> float:
    """A number, 0 or more."""
    value = _number(text)
    if not 0 <= value < math.inf:
        raise argparse.ArgumentTypeError(f"{text} is no number from 0 on")
    return value


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text} is no number") from None
