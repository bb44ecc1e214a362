"""Reading a message ourselves, so that one that cannot be read is the caller's mistake and not the server's."""

from __future__ import annotations

from typing import TypeVar

from google.protobuf.message import DecodeError, Message

from sluice.errors import InvalidRequest

MessageType = TypeVar("MessageType", bound=Message)


def parse(kind: type[MessageType], data: bytes, *, field: str = "text") -> MessageType:
    """`data` as a message of `kind`. Raises InvalidRequest for bytes that are none, invalid UTF-8 included."""
    try:
        return kind.FromString(data)
    except (DecodeError, UnicodeDecodeError) as error:
        name = kind.DESCRIPTOR.full_name
        raise InvalidRequest(f"the message cannot be read as {name}: {error}", field=field) from error
