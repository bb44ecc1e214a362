"""What a caller gets who had a text written: the text, why it ends, what it cost, and who wrote it."""

from __future__ import annotations

from dataclasses import dataclass

from sluice.domain.enums import Tier
from sluice.v1 import inference_service_pb2 as inference_pb2


@dataclass(frozen=True, slots=True, kw_only=True)
class Generated:
    """One text that was written to its end. `finish_reason` is "stop" or "length"."""

    text: str
    finish_reason: str
    tokens: int
    prompt_tokens: int
    variant: str
    tier: Tier
    worker: str
    degraded_from: Tier
    trace_id: str


class Draft:
    """A text as far as it has come. `tokens` are those that were written by now."""

    def __init__(self) -> None:
        self._parts: list[str] = []
        self._first: inference_pb2.GenerateResponse | None = None
        self._last: inference_pb2.GenerateResponse | None = None

    @property
    def text(self) -> str:
        """All of it, so far."""
        return "".join(self._parts)

    @property
    def tokens(self) -> int:
        """Tokens written so far."""
        return self._last.tokens if self._last is not None else 0

    def accept(self, message: inference_pb2.GenerateResponse) -> str:
        """Take what has come; returns the new text."""
        self._first = self._first or message
        self._last = message
        self._parts.append(message.text)
        return message.text

    def result(self) -> Generated:
        """The text and all about it. Raises RuntimeError while it goes on, or when it failed."""
        first, last = self._first, self._last
        if first is None or last is None or not last.finish_reason:
            raise RuntimeError("the text has not come to its end; read on, or see how reading it failed")
        return Generated(
            text=self.text,
            finish_reason=inference_pb2.FinishReason.Name(last.finish_reason).removeprefix("FINISH_REASON_").lower(),
            tokens=last.tokens,
            prompt_tokens=last.prompt_tokens,
            variant=first.variant,
            tier=Tier(first.tier),
            worker=first.worker,
            degraded_from=Tier(first.degraded_from),
            trace_id=first.trace_id,
        )
