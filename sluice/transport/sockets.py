"""The sockets of this process's servers, found among its open files: gRPC has no way to close a listener, to end a
connection, or to say who is connected.

Linux only; elsewhere nothing is found, and a stop is as good as gRPC's own. Every socket is looked at, and shut,
through a duplicate of its descriptor, so one that gRPC closes meanwhile is never mistaken for another.
"""

from __future__ import annotations

import contextlib
import ipaddress
import os
import socket
import stat
import struct
from collections.abc import Iterator
from urllib.parse import unquote

DESCRIPTORS = "/proc/self/fd"
Peer = tuple[str, int]
# In struct tcp_info of linux/tcp.h: eight bytes, and the eleventh of the 32-bit numbers behind them.
_LAST_DATA_RECEIVED_MS = struct.Struct("=8x 11I I")


def close_listeners(port: int) -> int:
    """Accept no more connections on `port`, while open ones live on; returns how many listeners were shut.

    A successor can bind the port at once, as gRPC lets addresses be reused.
    """
    shut = 0
    for one in _sockets(port):
        if one.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            one.shutdown(socket.SHUT_RD)
            shut += 1
    return shut


def connections(port: int) -> dict[Peer, float]:
    """Who is connected to `port`, and for how many seconds each has sent nothing."""
    found: dict[Peer, float] = {}
    for one in _sockets(port):
        with contextlib.suppress(OSError):
            found[_peer(*one.getpeername()[:2])] = _silent_s(one)
    return found


def hang_up(port: int) -> int:
    """End the connections to `port`: callers get what was sent, and then an end. Returns how many there were.

    For a caller's library a call that was on its way is then UNAVAILABLE. gRPC's own stop resets it with CANCELLED.
    """
    ended = 0
    for one in _sockets(port):
        if not one.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_WR)
                ended += 1
    return ended


def peer_of(name: str) -> Peer | None:
    """What gRPC calls a peer, such as "ipv4:127.0.0.1:5000", as `connections` has it; None for other kinds."""
    kind, _, rest = unquote(name).partition(":")
    host, _, port = rest.rpartition(":")
    if kind not in {"ipv4", "ipv6"} or not port.isdigit():
        return None
    return _peer(host.strip("[]"), int(port))


def _peer(host: str, port: int) -> Peer:
    address = ipaddress.ip_address(host.partition("%")[0])
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return str(mapped or address), port


def _silent_s(one: socket.socket) -> float:
    info = one.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _LAST_DATA_RECEIVED_MS.size)
    return float(_LAST_DATA_RECEIVED_MS.unpack(info)[-1]) / 1000


def _sockets(port: int) -> Iterator[socket.socket]:
    """Duplicates of this process's TCP sockets whose own end is `port`."""
    try:
        numbers = [int(name) for name in os.listdir(DESCRIPTORS)]  # noqa: PTH208  of names that are numbers
    except OSError:
        return
    for number in numbers:
        with contextlib.suppress(OSError):  # it is gone, or no socket of ours by now
            if not stat.S_ISSOCK(os.fstat(number).st_mode):
                continue
            with _duplicate(number) as one:
                if one.family in {socket.AF_INET, socket.AF_INET6} and one.getsockname()[1] == port:
                    yield one


def _duplicate(number: int) -> socket.socket:
    copy = os.dup(number)
    try:
        return socket.socket(fileno=copy)
    except OSError:
        os.close(copy)
        raise
