"""One text on its way: from what the server streams to the pieces that are heard of it."""

from __future__ import annotations

from sluice.domain.errors import NoEndpoint, SluiceError
from sluice.engine.openai.chunk import Chunk
from sluice.engine.stop_strings import StopStrings
from sluice.worker.execution.generator import Finish, Piece, Prompt

_LENGTH = "length"
_ABORTED = frozenset({"abort", "error"})


class Text:
    """Looks for the stop strings and counts. `is_counted` is whether the server has told how many tokens there are.

    Until it tells, each event with new text counts as one token, which is the least that it can be.
    """

    def __init__(self, key: int, prompt: Prompt) -> None:
        self.key = key
        self.is_begun = False
        self.is_counted = False
        self._stops = StopStrings(prompt.stop)
        self._finish: Finish | None = None
        self._tokens = 0
        self._prompt_tokens = 0

    def take(self, chunk: Chunk) -> Piece | None:
        """What is to be heard of `chunk`; None when it is nothing. Raises NoEndpoint when the server gave the text up.

        The piece is the last one when a stop string is complete: then nothing more of the stream is wanted.
        """
        if chunk.finish in _ABORTED:
            raise NoEndpoint("the engine gave the text up")
        self._count(chunk)
        sent = self._stops.push(chunk.text)
        if self._stops.found:
            return self._piece(sent, finish=Finish.STOP)
        if chunk.finish:
            self._finish = Finish.LENGTH if chunk.finish == _LENGTH else Finish.STOP
        is_first, self.is_begun = not self.is_begun, True
        return self._piece(sent) if sent or is_first else None

    def end(self) -> Piece:
        """The last piece, when the stream has ended. Raises NoEndpoint when it did so before the text."""
        if self._finish is None:
            raise NoEndpoint("the engine's answer broke off")
        return self._piece(self._stops.flush(), finish=self._finish)

    @property
    def is_whole(self) -> bool:
        """Whether the server has said why the text ends, so that only counts may follow."""
        return self._finish is not None

    def fail(self, error: SluiceError) -> Piece:
        """The last piece of a text that failed. What is held back for a stop string is sent no more."""
        return self._piece("", error=error)

    def _count(self, chunk: Chunk) -> None:
        if chunk.tokens is not None:
            self.is_counted = True
            self._tokens = max(self._tokens, chunk.tokens)
        elif chunk.text and not self.is_counted:
            self._tokens += 1
        self._prompt_tokens = chunk.prompt_tokens or self._prompt_tokens

    def _piece(self, text: str, *, finish: Finish | None = None, error: SluiceError | None = None) -> Piece:
        return Piece(
            key=self.key,
            text=text,
            tokens=self._tokens,
            prompt_tokens=self._prompt_tokens,
            finish=finish,
            error=error,
        )
