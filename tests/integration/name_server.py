"""A name server whose records a test changes, and programs that ask it alone: each in a mount namespace of its own."""

from __future__ import annotations

import asyncio
import os
import socket
import struct
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import cast

import pytest

ROOT = Path(__file__).parents[2]
# Where the C library asks is an address alone: the port is always 53.
ADDRESS = ("127.77.0.1", 53)
A, IN = 1, 1
NO_ERROR, SERVER_FAILED, NO_SUCH_NAME = 0, 2, 3
# A question follows a header of so many bytes.
HEADER = struct.Struct("!6H")
IS_ANSWER, RECURSION = 0x8000, 0x0180
# In a record, the name of the question, which begins behind the header.
SAME_NAME = 0xC000 | HEADER.size


class NameServer(asyncio.DatagramProtocol):
    """Answers for the names in `records`, and for no others. It says `failure` to all while that is set."""

    def __init__(self) -> None:
        self.records: dict[str, list[str]] = {}
        self.failure = NO_ERROR
        self.asked = 0
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep what answers go through."""
        self._transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        """Answer one question."""
        assert self._transport is not None
        self.asked += 1
        self._transport.sendto(self.answer(data), addr)

    def answer(self, query: bytes) -> bytes:
        """The answer to `query`, which has one question (RFC 1035, section 4)."""
        name, end = _name_at(query, HEADER.size)
        (kind,) = struct.unpack_from("!H", query, end)
        addresses = self.records.get(name, [])
        code = self.failure or (NO_ERROR if addresses else NO_SUCH_NAME)
        found = addresses if kind == A and code == NO_ERROR else []
        header = HEADER.pack(int.from_bytes(query[:2]), IS_ANSWER | RECURSION | code, 1, len(found), 0, 0)
        records = [struct.pack("!HHHIH", SAME_NAME, A, IN, 0, 4) + socket.inet_aton(one) for one in found]
        return header + query[HEADER.size : end + 4] + b"".join(records)


def _name_at(query: bytes, start: int) -> tuple[str, int]:
    labels, at = [], start
    while query[at]:
        labels.append(query[at + 1 : at + 1 + query[at]].decode("ascii"))
        at += 1 + query[at]
    return ".".join(labels).lower(), at + 1


@asynccontextmanager
async def naming() -> AsyncIterator[NameServer]:
    """A name server. Skips the test, saying why, where none can be had or no program can be made to ask it."""
    _require_namespaces()
    try:
        transport, server = await asyncio.get_running_loop().create_datagram_endpoint(NameServer, local_addr=ADDRESS)
    except OSError as error:
        pytest.skip(f"no name server can listen on {ADDRESS[0]}:{ADDRESS[1]} here: {error}")
    try:
        yield server
    finally:
        transport.close()


def _require_namespaces() -> None:
    probe = ("unshare", "--mount", "mount", "--bind", "/dev/null", "/etc/resolv.conf")
    try:
        done = subprocess.run(probe, capture_output=True, text=True, check=False, timeout=10)
    except OSError as error:
        pytest.skip(f"no program can be given a name server of its own here: {error}")
    if done.returncode != 0:
        pytest.skip(f"no program can be given a name server of its own here: {done.stderr.strip()}")


@asynccontextmanager
async def asking(module: str, environ: Mapping[str, str], directory: Path) -> AsyncIterator[Path]:
    """`python -m module`, for which names are looked up at `ADDRESS`; its log. It is ended with SIGTERM."""
    resolv, hosts, log = (directory / name for name in ("resolv.conf", "nsswitch.conf", f"{module}.log"))
    resolv.write_text(f"nameserver {ADDRESS[0]}\noptions timeout:1 attempts:2\n", encoding="ascii")
    hosts.write_text("hosts: files dns\n", encoding="ascii")
    # In the namespace the first argument stands where the system's file was; what runs has the program's own id.
    script = (
        'mount --bind "$1" /etc/resolv.conf && { [ ! -e /etc/nsswitch.conf ] || mount --bind "$2" /etc/nsswitch.conf; }'
    )
    script += ' && shift 2 && exec "$@"'
    command = ("unshare", "--mount", "sh", "-c", script, "sh", str(resolv), str(hosts), sys.executable, "-m", module)
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("SLUICE_")}
    environ = {**inherited, "SLUICE_CONFIG": os.devnull, **environ}
    with log.open("wb") as out:
        program = await asyncio.create_subprocess_exec(*command, env=environ, cwd=ROOT, stdout=out, stderr=out)
    try:
        yield log
    finally:
        with suppress(ProcessLookupError):
            program.terminate()
        try:
            await asyncio.wait_for(program.wait(), 20)
        except TimeoutError:
            program.kill()
            await program.wait()
