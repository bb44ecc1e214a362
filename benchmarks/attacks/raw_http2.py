"""One HTTP/2 connection without the good manners of a gRPC library, made with the `h2` package."""

from __future__ import annotations

import asyncio
import struct
from collections import Counter
from types import TracebackType
from typing import Self

from h2.config import H2Configuration
from h2.connection import ConnectionState, H2Connection
from h2.events import ConnectionTerminated, Event, ResponseReceived, StreamReset, TrailersReceived
from h2.exceptions import ProtocolError

HEADERS = (
    (":method", "POST"),
    (":scheme", "http"),
    (":authority", "attacker"),
    ("content-type", "application/grpc"),
    ("te", "trailers"),
)


def framed(message: bytes, *, compressed: bool = False) -> bytes:
    """`message` as gRPC sends it: a flag, its length, and its bytes."""
    return struct.pack(">BI", compressed, len(message)) + message


class RawHttp2:
    """A connection to `address`, "HOST:PORT". `ends` counts gRPC statuses, resets and GOAWAYs that came back."""

    def __init__(self, address: str, *, reads: bool = True) -> None:
        self._host, _, port = address.rpartition(":")
        self._port = int(port)
        self._reads = reads
        self.ends: Counter[str] = Counter()
        self.h2 = H2Connection(H2Configuration(client_side=True, header_encoding="utf-8"))
        self.closed = asyncio.Event()

    async def __aenter__(self) -> Self:
        self._reader, self.writer = await asyncio.open_connection(self._host, self._port)
        self.h2.initiate_connection()
        self.flush()
        self._reading = asyncio.create_task(self._read()) if self._reads else None
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.gather(self._reading, return_exceptions=True)
        self.writer.transport.abort()

    def flush(self) -> None:
        """Hand what `h2` has to send to the socket."""
        if not self.writer.is_closing():
            self.writer.write(self.h2.data_to_send())

    def open(self, path: str, *headers: tuple[str, str]) -> int:
        """Open a stream to the method `path`; returns its id."""
        stream = self.h2.get_next_available_stream_id()
        self.h2.send_headers(stream, [(":path", path), *HEADERS, *headers])
        return stream

    def call(self, path: str, message: bytes, *headers: tuple[str, str], end: bool = True) -> int:
        """Open a stream and send one message of at most 16 kB on it."""
        stream = self.open(path, *headers)
        self.h2.send_data(stream, framed(message), end_stream=end)
        return stream

    async def _read(self) -> None:
        try:
            while data := await self._reader.read(65_536):
                for event in self.h2.receive_data(data):
                    self._count(event)
                if self.h2.state_machine.state is ConnectionState.CLOSED:
                    break
                self.flush()
        except (OSError, ProtocolError) as error:
            self.ends[type(error).__name__] += 1
        finally:
            self.closed.set()

    def _count(self, event: Event) -> None:
        if isinstance(event, ResponseReceived | TrailersReceived):
            status = next((value for name, value in event.headers if name in {"grpc-status", b"grpc-status"}), None)
            if status is not None:
                self.ends[f"status {status!s}"] += 1
        elif isinstance(event, StreamReset):
            self.ends["reset"] += 1
        elif isinstance(event, ConnectionTerminated):
            self.ends[f"goaway {event.additional_data!s}"] += 1
