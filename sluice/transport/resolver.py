"""Names to addresses, off the event loop and again and again: all records of a name, and those that come and go.

gRPC resolves a name once and then only when a connection ends, and by default uses one address of it. Where every
address counts (a router's workers, the governors) the addresses are therefore looked up here, and dialled one by one.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import threading
from collections.abc import Callable, Iterable, Mapping

RESOLVE_INTERVAL_S = 1.0
"""How long after one look-up of a name the next one begins."""
TIMEOUT_S = 2.0
MOST_ADDRESSES = 256
# Look-ups at a time. One that hangs keeps its thread until the system gives up, and no other name waits for it.
MOST_LOOKUPS = 16
# A record has gone when as many answers in a row did not have it: servers that rotate a long list leave some out.
MISSES = 3

Lookup = Callable[[str, int], Iterable[str]]


class ResolveError(Exception):
    """A name has no addresses now, or nobody says which."""


def split_host_port(address: str) -> tuple[str, int]:
    """Host and port of "HOST:PORT", the brackets of an IPv6 address taken off. Raises ValueError."""
    host, separator, port = address.rpartition(":")
    if not separator or not (port.isascii() and port.isdigit()) or int(port) > 65535:
        raise ValueError(f"'{address}' is not HOST:PORT")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    return host, int(port)


def join_host_port(host: str, port: int) -> str:
    """ "HOST:PORT", with brackets around an IPv6 address."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def is_literal(address: str) -> bool:
    """Whether the host of "HOST:PORT" is an IP address, so that there is nothing to look up."""
    try:
        ipaddress.ip_address(split_host_port(address)[0].partition("%")[0])
    except ValueError:
        return False
    return True


def follow(known: Mapping[str, int], answer: Iterable[str] | None) -> dict[str, int]:
    """The addresses of a name after one more `answer`, each with the number of answers in a row that missed it.

    A look-up that failed (None) or names nobody changes nothing. A new address counts at once, and one that `MISSES`
    answers in a row did not name has gone.
    """
    found = set(answer or ())
    if not found:
        return dict(known)
    counted = {address: 0 if address in found else missed + 1 for address, missed in known.items()}
    counted.update(dict.fromkeys(sorted(found - known.keys()), 0))
    return {address: missed for address, missed in counted.items() if missed < MISSES}


def system_lookup(host: str, port: int) -> list[str]:
    """All addresses that the system knows for a host. Blocks. Raises OSError."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(place[0]) for _, _, _, _, place in found]


class Resolver:
    """Looks names up by `lookup`, which may block, in threads of its own. Use from one event loop only.

    A program ends without waiting for a look-up that hangs.
    """

    def __init__(
        self, lookup: Lookup = system_lookup, *, timeout_s: float = TIMEOUT_S, most: int = MOST_ADDRESSES
    ) -> None:
        self._lookup = lookup
        self._timeout_s = timeout_s
        self._most = most
        self._slots = asyncio.Semaphore(MOST_LOOKUPS)
        self._running: dict[str, asyncio.Future[tuple[str, ...]]] = {}

    async def resolve(self, address: str) -> tuple[str, ...]:
        """All addresses "IP:PORT" of "HOST:PORT", at most `most`, in order. An IP address stands for itself.

        Raises ResolveError when there are none or none are told in time.
        """
        try:
            host, port = split_host_port(address)
        except ValueError as error:
            raise ResolveError(str(error)) from error
        if is_literal(address):
            return (join_host_port(host, port),)
        running = self._running.get(address)
        if running is None:
            running = self._running[address] = asyncio.ensure_future(self._look_up(host, port))
            running.add_done_callback(lambda done: self._ended(address, done))
        try:
            return await asyncio.wait_for(asyncio.shield(running), self._timeout_s)
        except TimeoutError:
            raise ResolveError(f"the addresses of '{host}' were not told within {self._timeout_s:g} s") from None

    def _ended(self, address: str, done: asyncio.Future[tuple[str, ...]]) -> None:
        del self._running[address]
        if not done.cancelled():
            # Whoever waited may have gone away, and the loop complains of errors that nobody looked at.
            done.exception()

    async def _look_up(self, host: str, port: int) -> tuple[str, ...]:
        async with self._slots:
            told: asyncio.Future[list[str]] = asyncio.get_running_loop().create_future()
            threading.Thread(
                target=_run, args=(self._lookup, host, port, told), name=f"resolve {host}", daemon=True
            ).start()
            try:
                found = await told
            except (OSError, UnicodeError) as error:
                raise ResolveError(f"'{host}' has no address: {error}") from error
        if not found:
            raise ResolveError(f"'{host}' has no address")
        return tuple(sorted({join_host_port(one, port) for one in found})[: self._most])


def _run(lookup: Lookup, host: str, port: int, told: asyncio.Future[list[str]]) -> None:
    found: list[str] | Exception
    try:
        found = list(lookup(host, port))
    except Exception as error:
        found = error
    try:
        told.get_loop().call_soon_threadsafe(_tell, told, found)
    except RuntimeError:
        # The loop has been closed meanwhile: nobody waits any more.
        return


def _tell(told: asyncio.Future[list[str]], found: list[str] | Exception) -> None:
    if told.done():
        return
    if isinstance(found, Exception):
        told.set_exception(found)
    else:
        told.set_result(found)
