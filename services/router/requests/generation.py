"""The ticket of a text: a request's ticket, and how far the text has come."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass

from services.router.requests.request import GenerationResult, PendingRequest, Request
from services.router.requests.sampling_params import SamplingParams
from sluice.domain.errors import SluiceError
from sluice.domain.variant import Variant

# A text's way out: what has been written and its reader has not taken yet.
#
# A reader that is slow, or stands still, finds everything in its next message. The text itself is the bound: nothing
# of it is kept twice, and nobody else waits.


# In UTF-8.
MAX_CHARACTER_BYTES = 4


@dataclass(frozen=True, slots=True)
class TokenChunk:
    """New text, how many tokens have been written by now, and, in the last one, what came of the text."""

    text: str
    tokens: int
    outcome: GenerationResult | SluiceError | None = None

    def in_parts(self, most_bytes: int) -> Iterator[TokenChunk]:
        """The same, in parts with at most so many bytes of text each; only the last one has the outcome."""
        text, step = self.text, most_bytes // MAX_CHARACTER_BYTES
        while len(text) > step and len(text.encode()) > most_bytes:
            yield TokenChunk(text[:step], self.tokens)
            text = text[step:]
        yield TokenChunk(text, self.tokens, self.outcome)


class TokenStream:
    """Filled by the core and emptied by one reader, on one event loop."""

    __slots__ = ("_filled", "_outcome", "_parts", "_tokens")

    def __init__(self) -> None:
        self._parts: list[str] = []
        self._tokens = 0
        self._outcome: GenerationResult | SluiceError | None = None
        self._filled = asyncio.Event()

    def put(self, text: str, tokens: int) -> None:
        """The text has grown by `text` and has `tokens` in all."""
        if text:
            self._parts.append(text)
        self._tokens = tokens
        self._filled.set()

    def end(self, outcome: GenerationResult | SluiceError) -> None:
        """Nothing more comes. What has not been taken yet still can be."""
        self._outcome = outcome
        self._filled.set()

    async def take(self) -> TokenChunk:
        """All that has come since the last time, as soon as there is anything. Not to be called after the last one."""
        await self._filled.wait()
        self._filled.clear()
        text = "".join(self._parts)
        self._parts.clear()
        return TokenChunk(text, self._tokens, self._outcome)


class PendingGeneration(PendingRequest):
    """One open text. It may go to another worker while `written`, its tokens that have come, is 0.

    `begun_at` and `first_token_at` are instants, None before; `begun_share_s` is its account's at the former. `writer`
    and `worker` are with whom it is, or was last; their account knows which. `lone_timer` rings when it has waited long
    enough for a worker that is free of other work.
    """

    __slots__ = (
        "begun_at",
        "begun_share_s",
        "first_token_at",
        "lone_timer",
        "outlet",
        "prompt_tokens",
        "received_bytes",
        "sampling",
        "worker",
        "writer",
        "written",
    )

    def __init__(self, number: int, request: Request, sampling: SamplingParams, *, hot: bool, now: float) -> None:
        self.outlet = TokenStream()
        super().__init__(number, request, self.outlet.end, hot=hot, now=now)
        self.sampling = sampling
        self.written = 0
        # Bytes of new text that its worker has sent.
        self.received_bytes = 0
        self.prompt_tokens = 0
        self.begun_at: float | None = None
        self.begun_share_s = 0.0
        self.first_token_at: float | None = None
        self.writer: Variant | None = None
        self.worker = ""
        self.lone_timer: asyncio.TimerHandle | None = None

    def silence(self) -> None:
        """A text's reader waits for its end, whatever that is; so does the worker, which must be told."""
