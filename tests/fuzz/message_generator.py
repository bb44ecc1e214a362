"""Random protobuf messages from their descriptors: plausible ones with a few wild fields, wild ones, and broken bytes.

Everything follows from the `random.Random` that is passed in, so that a run can be repeated from its seed.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping, Sequence
from random import Random
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

MAX_DEPTH = 4
MAX_REPEATED = 5
MAX_LONG_STRING = 70_000
# How messages are made, and how often: mostly right, wholly random, right but for bytes that were flipped or cut.
PLAUSIBLE, WILD, BROKEN = 0.6, 0.25, 0.15

INT32 = (0, 1, 2, 3, 7, 128, 2**15, 2**31 - 1, -1, -(2**31))
INT64 = (0, 1, 2, 1000, 2**31, 2**53, 2**63 - 1, -1, -(2**63))
UINT32 = (0, 1, 2, 3, 16, 128, 4096, 2**31 - 1, 2**31, 4_000_000_000, 2**32 - 1)
UINT64 = (0, 1, 2, 3, 2**31, 2**53, 2**63 - 1, 2**63, 2**64 - 2, 2**64 - 1)
DOUBLES = (0.0, 1.0, 0.5, 0.69, 0.7, 2.0, -0.0, -1.0, 1e-320, 1e300, -1e300, float("nan"), float("inf"), float("-inf"))
CHARACTERS = 'aA0 \n\t\0\x7fé中😀\ufeff\u202e"\\/'
LONG_CHARACTERS = "aé中😀"

Words = Sequence[str]

_INTEGERS: Mapping[int, Sequence[int]] = {
    FieldDescriptor.CPPTYPE_INT32: INT32,
    FieldDescriptor.CPPTYPE_INT64: INT64,
    FieldDescriptor.CPPTYPE_UINT32: UINT32,
    FieldDescriptor.CPPTYPE_UINT64: UINT64,
}
_RANGES: Mapping[int, tuple[int, int]] = {
    FieldDescriptor.CPPTYPE_INT32: (-(2**31), 2**31 - 1),
    FieldDescriptor.CPPTYPE_INT64: (-(2**63), 2**63 - 1),
    FieldDescriptor.CPPTYPE_UINT32: (0, 2**32 - 1),
    FieldDescriptor.CPPTYPE_UINT64: (0, 2**64 - 1),
}


def random_bytes_of(rng: Random, plausible: Message, *, words: Words) -> bytes:
    """The wire form of a message of `plausible`'s type; `words` are strings that mean something to the receiver."""
    dice = rng.random()
    if dice < PLAUSIBLE:
        return disturbed(rng, plausible, words=words).SerializeToString()
    if dice < PLAUSIBLE + WILD:
        wild = type(plausible)()
        fill(rng, wild, words=words)
        return wild.SerializeToString()
    return broken(rng, plausible.SerializeToString())


def disturbed(rng: Random, plausible: Message, *, words: Words) -> Message:
    """A copy of `plausible` in which up to three fields, at any depth, have other values."""
    message = type(plausible)()
    message.CopyFrom(plausible)
    for _ in range(rng.randint(0, 3)):
        at = message
        while True:
            inner = [
                value for field, value in at.ListFields() if field.message_type is not None and not field.is_repeated
            ] + [
                rng.choice(value)
                for field, value in at.ListFields()
                if field.message_type is not None and field.is_repeated and not _is_map(field) and len(value)
            ]
            if not inner or rng.random() < 0.5:
                break
            at = rng.choice(inner)
        fields = at.DESCRIPTOR.fields
        if fields:
            set_field(rng, at, rng.choice(fields), words=words, depth=MAX_DEPTH - 1)
    return message


def fill(rng: Random, message: Message, *, words: Words, depth: int = 0) -> None:
    """Give about two fields of three a random value."""
    for field in message.DESCRIPTOR.fields:
        if rng.random() < 2 / 3:
            set_field(rng, message, field, words=words, depth=depth)


def set_field(rng: Random, message: Message, field: FieldDescriptor, *, words: Words, depth: int) -> None:
    """Set one field at random: several values if it is repeated, nothing if it lies too deep."""
    if _is_map(field):
        _fill_map(rng, message, field, words=words, depth=depth)
    elif field.is_repeated:
        values = getattr(message, field.name)
        for _ in range(rng.randint(0, MAX_REPEATED)):
            if field.message_type is None:
                values.append(scalar(rng, field, words=words))
            elif depth < MAX_DEPTH:
                fill(rng, values.add(), words=words, depth=depth + 1)
    elif field.message_type is not None:
        if depth < MAX_DEPTH:
            inner = getattr(message, field.name)
            inner.SetInParent()
            fill(rng, inner, words=words, depth=depth + 1)
    else:
        setattr(message, field.name, scalar(rng, field, words=words))


def _fill_map(rng: Random, message: Message, field: FieldDescriptor, *, words: Words, depth: int) -> None:
    key, value = field.message_type.fields_by_name["key"], field.message_type.fields_by_name["value"]
    entries = getattr(message, field.name)
    for _ in range(rng.randint(0, MAX_REPEATED)):
        name = scalar(rng, key, words=words)
        if value.message_type is None:
            entries[name] = scalar(rng, value, words=words)
        elif depth < MAX_DEPTH:
            fill(rng, entries[name], words=words, depth=depth + 1)


def scalar(rng: Random, field: FieldDescriptor, *, words: Words) -> Any:
    """A value for a field that holds one: a boundary, a word, or anything that its type admits."""
    kind = field.cpp_type
    if kind in _INTEGERS:
        return rng.choice(_INTEGERS[kind]) if rng.random() < 0.8 else rng.randint(*_RANGES[kind])
    if kind == FieldDescriptor.CPPTYPE_ENUM:
        known = [one.number for one in field.enum_type.values]
        return rng.choice(known) if rng.random() < 0.7 else rng.choice((99, -1, 2**31 - 1))
    if kind == FieldDescriptor.CPPTYPE_BOOL:
        return rng.random() < 0.5
    if kind in {FieldDescriptor.CPPTYPE_DOUBLE, FieldDescriptor.CPPTYPE_FLOAT}:
        value = rng.choice(DOUBLES) if rng.random() < 0.8 else struct.unpack("<d", rng.randbytes(8))[0]
        is_float = kind == FieldDescriptor.CPPTYPE_FLOAT
        return max(-3e38, min(3e38, value)) if is_float and abs(value) < float("inf") else value
    if field.type == FieldDescriptor.TYPE_BYTES:
        return rng.randbytes(rng.choice((0, 1, 4, 5, 8, 300)))
    return text(rng, words=words)


def text(rng: Random, *, words: Words) -> str:
    """A string: empty, a word that means something, odd characters, or a long one."""
    dice = rng.random()
    if dice < 0.1:
        return ""
    if dice < 0.6 and words:
        return rng.choice(words)
    if dice < 0.97:
        return "".join(rng.choices(CHARACTERS, k=rng.randint(1, 40)))
    return rng.choice(LONG_CHARACTERS) * rng.randint(1, MAX_LONG_STRING)


def broken(rng: Random, data: bytes) -> bytes:
    """`data` with bytes flipped, cut off, doubled or replaced."""
    damaged = bytearray(data or b"\x0a")
    harm: Callable[[], None] = rng.choice(
        (
            lambda: damaged.__setitem__(rng.randrange(len(damaged)), rng.randrange(256)),
            lambda: damaged.__delitem__(slice(rng.randrange(len(damaged)), None)),
            lambda: damaged.extend(rng.randbytes(rng.randint(1, 30))),
            lambda: damaged.extend(bytes(damaged)),
        )
    )
    harm()
    return bytes(damaged)


def _is_map(field: FieldDescriptor) -> bool:
    kind: Descriptor | None = field.message_type
    return kind is not None and bool(kind.GetOptions().map_entry)
