"""The client for threads. One channel, safe to share."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from threading import Thread
from types import TracebackType
from typing import Any, Self

import grpc

from sluice.client.answer import Answer, from_proto
from sluice.client.failure import from_rpc_error
from sluice.client.options import DEFAULT_ROUTER, channel_options
from sluice.client.prompt import Prompt
from sluice.client.prompt import to_proto as prompt_to_proto
from sluice.client.query import Query, checked_timeout, to_proto
from sluice.client.span import request_span
from sluice.client.stream import StreamBook
from sluice.client.text_stream import TextStream
from sluice.domain.errors import Expired, NoEndpoint, SluiceError
from sluice.runtime.channel import proxy_options
from sluice.runtime.tracing import TRACEPARENT_KEY
from sluice.v1 import inference_service_pb2_grpc as inference_grpc


class Client:
    """Asks a router. `timeout_s` is the deadline of every request that does not bring its own.

    with Client("127.0.0.1:50051") as client:
        print(client.infer("where is my parcel?").label)
    """

    def __init__(self, router: str = DEFAULT_ROUTER, *, timeout_s: float = 10.0) -> None:
        self._timeout_s = checked_timeout(timeout_s)
        self._channel = grpc.insecure_channel(router, options=(*channel_options(), *proxy_options(router)))
        self._stub = inference_grpc.InferenceServiceStub(self._channel)

    def infer(self, text: str | Query, **options: Any) -> Answer:
        """Answer one text; `options` are those of `Query`. Raises the SluiceError that the mesh answered with."""
        query = text if isinstance(text, Query) else Query(text=text, **options)
        timeout_s = query.timeout_s if query.timeout_s is not None else self._timeout_s
        with request_span("Infer") as traceparent:
            metadata = ((TRACEPARENT_KEY, traceparent),) if traceparent else None
            try:
                return from_proto(self._stub.Infer(to_proto(query), timeout=timeout_s, metadata=metadata))
            except grpc.RpcError as error:
                raise from_rpc_error(error) from None

    def infer_many(
        self, texts: Iterable[str | Query], *, max_open: int = 256, **options: Any
    ) -> Iterator[Answer | SluiceError]:
        """Answer many texts over one stream, at most `max_open` at a time; outcomes come in the texts' order.

        A text that fails, or that no message can hold, yields its error. When the stream itself breaks, or the router
        is stuck, every open text yields that error. Texts are read ahead, in bundles of up to 256; what `texts` itself
        raises is raised here, after the outcomes of what was read before.
        """
        Query(text="", **options)  # Raises here what it raises for options that it does not know.
        book = StreamBook(texts, options, max_open=max_open, timeout_s=self._timeout_s)
        call = self._stub.InferStream(book.messages())
        watch = Thread(target=_cancel_when_overdue, args=(book, call), name="sluice-stream-watch", daemon=True)
        watch.start()
        try:
            for response in call:
                yield from book.accept(response)
            yield from book.fail_open(NoEndpoint("the router ended the stream before all texts were answered"))
        except grpc.RpcError as error:
            stuck = Expired("the router has not answered by the deadline") if book.is_overdue else None
            yield from book.fail_open(stuck or from_rpc_error(error))
        finally:
            book.close()
            call.cancel()
            watch.join()

    def generate(self, prompt: str | Prompt, **options: Any) -> TextStream:
        """A text that goes on from `prompt`, to be read piece by piece or by `read`; `options` are those of `Prompt`.

        Nothing is asked before it is read. A text whose first piece has come is never begun anew.
        """
        wanted = prompt if isinstance(prompt, Prompt) else Prompt(text=prompt, **options)
        timeout_s = wanted.timeout_s if wanted.timeout_s is not None else self._timeout_s
        message = prompt_to_proto(wanted)
        return TextStream(lambda metadata: self._stub.Generate(message, timeout=timeout_s, metadata=metadata))

    def close(self) -> None:
        """Close the channel."""
        self._channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def _cancel_when_overdue(book: StreamBook, call: grpc.Call) -> None:
    if book.watch():
        call.cancel()  # type: ignore[no-untyped-call]
