"""Whether an address can be listened at, asked of the system before a server is made: gRPC only logs the reason."""

from __future__ import annotations

import errno
import socket
from typing import Any


def bind_error(address: str) -> OSError | None:
    """Why a server cannot listen at `address`, "HOST:PORT"; None if it can.

    A name may stand for several addresses: one of them that is in use is reason enough, and else one that can be bound
    is enough. Raises ValueError when the port is no number.
    """
    host, _, port = address.rpartition(":")
    try:
        found = socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as error:
        return error
    outcomes = [_bind(family, place) for family, _, _, _, place in found]
    in_use = [one for one in outcomes if one is not None and one.errno == errno.EADDRINUSE]
    return in_use[0] if in_use else None if None in outcomes else outcomes[0]


def _bind(family: int, place: Any) -> OSError | None:
    try:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            # As gRPC binds: what lingers of connections that were closed does not count.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(place)
    except OSError as error:
        return error
    return None
