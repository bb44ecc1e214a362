"""A server with OpenAI's interface that answers as each test has it, byte by byte if need be."""

from __future__ import annotations

import json
import select
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Body = dict[str, Any]
TIMEOUT_S = 20


class Reply:
    """What a test says to one request."""

    def __init__(self, handler: _Handler, hung_up: threading.Semaphore) -> None:
        self.headers = dict(handler.headers)
        self.path = handler.path
        self._handler = handler
        self._hung_up = hung_up

    def status(self, code: int, content: Any = "", **headers: str) -> None:
        """Answer with `code` and JSON, or plain text, and no stream."""
        body = (content if isinstance(content, str) else json.dumps(content)).encode()
        self._handler.send_response(code)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self._handler.send_header(name.replace("_", "-"), value)
        self._handler.end_headers()
        self._handler.wfile.write(body)

    def begin(self, content_type: str = "text/event-stream; charset=utf-8") -> None:
        """Begin a stream."""
        self._handler.send_response(200)
        self._handler.send_header("Content-Type", content_type)
        self._handler.send_header("Transfer-Encoding", "chunked")
        self._handler.end_headers()

    def raw(self, data: bytes) -> None:
        """Send bytes of the stream."""
        self._handler.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
        self._handler.wfile.flush()

    def event(self, content: Any) -> None:
        """Send one event."""
        data = content if isinstance(content, str) else json.dumps(content, ensure_ascii=False)
        self.raw(f"data: {data}\n\n".encode())

    def delta(self, text: str, *, finish: str | None = None, usage: tuple[int, int] | None = None) -> None:
        """Send new text as /completions does; `usage` is the tokens of the prompt and of the text."""
        content: Body = {"choices": [{"index": 0, "text": text, "finish_reason": finish}]}
        if usage is not None:
            content["usage"] = counted(*usage)
        self.event(content)

    def end(self) -> None:
        """End the stream as it should."""
        self._handler.wfile.write(b"0\r\n\r\n")

    def break_off(self) -> None:
        """Close the connection in the middle of the stream."""
        self._handler.close_connection = True

    def until_hung_up(self) -> None:
        """Say nothing until the client has closed the connection."""
        readable, _, _ = select.select([self._handler.connection], [], [], TIMEOUT_S)
        assert readable
        assert self._handler.connection.recv(1) == b""
        self._handler.close_connection = True
        self._hung_up.release()


Answer = Callable[[Reply, Body], None]


class FakeServer:
    """`answer` is called for each request for a text, on a thread of its own; `bodies` and `replies` keep them."""

    def __init__(self, answer: Answer, *, models: Any = None) -> None:
        self.answer = answer
        self.models = models
        self.bodies: list[Body] = []
        self.replies: list[Reply] = []
        self.ports: set[int] = set()
        self.hung_up = threading.Semaphore(0)
        self.url = ""
        self.port = 0


def counted(prompt: int, text: int) -> Body:
    """Counts as a server tells them."""
    return {"prompt_tokens": prompt, "completion_tokens": text, "total_tokens": prompt + text}


def write(*texts: str, finish: str = "stop", usage: tuple[int, int] | None = (3, 7)) -> Answer:
    """An answer that streams `texts`, then its counts as OpenAI does."""

    def answer(reply: Reply, body: Body) -> None:
        reply.begin()
        for text in texts[:-1]:
            reply.delta(text)
        reply.delta(texts[-1], finish=finish)
        if usage is not None and "stream_options" in body:
            reply.event({"choices": [], "usage": counted(*usage)})
        reply.event("[DONE]")
        reply.end()

    return answer


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Else each small write waits for the acknowledgement of the one before.
    disable_nagle_algorithm = True
    server: _Server

    def do_GET(self) -> None:
        fake = self.server.fake
        reply = Reply(self, fake.hung_up)
        if fake.models is None:
            reply.status(404)
        else:
            reply.status(200, {"object": "list", "data": fake.models})

    def do_POST(self) -> None:
        fake = self.server.fake
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        reply = Reply(self, fake.hung_up)
        fake.bodies.append(body)
        fake.replies.append(reply)
        fake.ports.add(self.client_address[1])
        fake.answer(reply, body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  the base class calls it so
        """Say nothing."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 512

    def __init__(self, fake: FakeServer, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.fake = fake

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up is no news."""


@contextmanager
def serving(answer: Answer, *, models: Any = None, port: int = 0) -> Iterator[FakeServer]:
    """A fake server that is up for as long as the block runs."""
    fake = FakeServer(answer, models=models)
    with _Server(fake, port) as server:
        fake.port = server.server_port
        fake.url = f"http://127.0.0.1:{fake.port}/v1"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield fake
        finally:
            server.shutdown()
            thread.join()
