"""One text that is being written: its tokens become characters as soon as they are whole, and its end is seen."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from tokenizers.decoders import DecodeStream

from sluice.domain.errors import WorkerFailed
from sluice.engine.checkpoint.errors import NO_NUMBER
from sluice.engine.generation.sampler import NO_TOKEN
from sluice.engine.stop_strings import StopStrings
from sluice.worker.execution.generator import Finish, Piece, Prompt


class OpenText:
    """`tokenizer` is transformers' own, with a backend; a token of `ends` ends the text."""

    __slots__ = ("_decoder", "_ends", "_pending", "_stops", "_tokenizer", "key", "prompt_tokens", "tokens")

    def __init__(self, prompt: Prompt, *, key: int, prompt_tokens: int, tokenizer: Any, ends: Collection[int]) -> None:
        self.key = key
        self.prompt_tokens = prompt_tokens
        self.tokens = 0
        self._tokenizer = tokenizer
        self._ends = ends
        self._decoder = DecodeStream(skip_special_tokens=True)
        self._stops = StopStrings(prompt.stop)
        # Tokens since the last whole character.
        self._pending: list[int] = []

    def write(self, written: Sequence[int], *, is_done: bool) -> Piece:
        """What comes of `written`, all tokens so far, of which those that were seen before count no more.

        `is_done`: there will be no more. The piece is the last one then, or when a stop string is complete, or when a
        token is NO_TOKEN.
        """
        texts: list[str] = []
        for token in written[self.tokens :]:
            if token == NO_TOKEN:
                return self._piece("".join(texts), error=WorkerFailed(NO_NUMBER))
            self.tokens += 1
            texts.append(self._stops.push(self._characters(token)))
            if self._stops.found:
                return self._piece("".join(texts), finish=Finish.STOP)
        if not is_done:
            return self._piece("".join(texts))
        texts.append(self._stops.push(self._rest()))
        ended = self._stops.found or (len(written) > 0 and written[-1] in self._ends)
        texts.append(self._stops.flush())
        return self._piece("".join(texts), finish=Finish.STOP if ended else Finish.LENGTH)

    def _characters(self, token: int) -> str:
        new = self._decoder.step(self._tokenizer.backend_tokenizer, token)
        if new is None:
            self._pending.append(token)
            return ""
        self._pending.clear()
        return str(new)

    def _rest(self) -> str:
        """What the tokens since the last whole character come to, if the text ends in the middle of one."""
        return str(self._tokenizer.decode(self._pending, skip_special_tokens=True)) if self._pending else ""

    def _piece(self, text: str, *, finish: Finish | None = None, error: WorkerFailed | None = None) -> Piece:
        return Piece(
            key=self.key,
            text=text,
            tokens=self.tokens,
            prompt_tokens=self.prompt_tokens,
            finish=finish,
            error=error,
        )
