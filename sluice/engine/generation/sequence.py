"""One text that is being written: its tokens become characters as soon as they are whole, and its end is seen."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from tokenizers.decoders import DecodeStream
from transformers.generation.continuous_batching.requests import GenerationOutput, RequestState, RequestStatus

from sluice.domain.errors import WorkerFailed
from sluice.engine.checkpoint.errors import NAN_LOGITS, is_out_of_memory
from sluice.engine.generation.sampler import NO_TOKEN
from sluice.worker.execution.generator import Chunk, FinishReason, GenerationRequest

# A text in transformers' loop, told of as it stands.


@dataclass
class SequenceState(RequestState):
    """In the place of transformers' own, which copies all of a text's tokens in each step to tell of the last one.

    Who is told reads it at once, on the writing thread.
    """

    def to_generation_output(self) -> GenerationOutput | SequenceState:
        """Itself, or a copy where it does not begin with its prompt: it lost a step, and is read again."""
        return super().to_generation_output() if self._true_initial_tokens else self

    def is_finished(self) -> bool:
        """Whether nothing will be added to it."""
        return self._status >= RequestStatus.FINISHED


# Where the writing loop puts what it wrote: in the place of transformers' router of outputs, one listener for all.


OOM_PREFIX = "no room: "
"""Begins what is told of a text that the device had no memory for."""
GIVEN_BACK = "given back: "
"""Begins what is told of a text whose model is broken, through no fault of its own."""

Output: TypeAlias = GenerationOutput | SequenceState
Hear = Callable[[Sequence[Output]], None]


class ModelBroken(Exception):
    """The model writes nothing any more, whatever it is given. The device may be well, and other models on it."""


class OutputRouter:
    """Hands on a step at a time. transformers has it deliver from the writing thread alone."""

    def __init__(self, hear: Hear) -> None:
        self._hear = hear

    def deliver(self, output: Output) -> None:
        """One text has ended."""
        self._hear([output])

    def deliver_batch(self, outputs: Sequence[Output]) -> None:
        """What a step has written."""
        self._hear(outputs)

    def fail_and_deliver(self, state: RequestState, error: Exception) -> None:
        """A text has failed."""
        state.status = RequestStatus.FAILED
        prefix = OOM_PREFIX if is_out_of_memory(error) else GIVEN_BACK if isinstance(error, ModelBroken) else ""
        state.error = f"{prefix}{type(error).__name__}: {error}"
        self.deliver(state.to_generation_output())


# Where a text that is being written ends: before the first of its stop strings, of which nothing is ever sent.
#
# All strings are looked for at once, one step of an automaton for each character, however many and long they are (Aho
# and Corasick, Comm. ACM 18, 1975). What comes out does not depend on how the text was cut into pieces.


_ROOT = 0


class StopChecker:
    """Passes on the text of one writing until a stop string is complete, and holds back what may yet become one.

    Of several strings the one ends the text that is complete first, and the longest of those that are complete at the
    same character. Raises ValueError for a string without characters.
    """

    def __init__(self, strings: Sequence[str]) -> None:
        if "" in strings:
            raise ValueError("an empty stop string would end every text before it begins")
        self._next: list[dict[str, int]] = [{}]
        self._depth = [0]
        self._shorter = [_ROOT]
        self._complete = [0]
        for string in strings:
            self._add(string)
        self._connect()
        self._state = _ROOT
        self._held = ""
        self._found = False

    @property
    def found(self) -> bool:
        """Whether a stop string was complete: the text is at its end."""
        return self._found

    def push(self, text: str) -> str:
        """What may be sent now that `text` was written. Empty after a stop string was found."""
        if self._found:
            return ""
        if not self._next[_ROOT]:
            # There is nothing to look for, as in most texts, and this is asked for each token.
            return text
        known = len(self._held)
        text = self._held + text
        state = self._state
        for place in range(known, len(text)):
            state = self._step(state, text[place])
            if length := self._complete[state]:
                self._found, self._held = True, ""
                return text[: place + 1 - length]
        self._state = state
        sent = len(text) - self._depth[state]
        self._held = text[sent:]
        return text[:sent]

    def flush(self) -> str:
        """What was held back, to be sent when the text ends by itself. Nothing may be pushed after that."""
        held, self._held = self._held, ""
        return held

    def _add(self, string: str) -> None:
        state = _ROOT
        for character in string:
            if character not in self._next[state]:
                self._next[state][character] = len(self._next)
                self._next.append({})
                self._depth.append(self._depth[state] + 1)
                self._shorter.append(_ROOT)
                self._complete.append(0)
            state = self._next[state][character]
        self._complete[state] = len(string)

    def _connect(self) -> None:
        """Find for each state the longest other one that the text has also reached, the shallow states first."""
        waiting = list(self._next[_ROOT].values())
        for state in waiting:
            for character, deeper in self._next[state].items():
                self._shorter[deeper] = self._step(self._shorter[state], character)
                self._complete[deeper] = self._complete[deeper] or self._complete[self._shorter[deeper]]
                waiting.append(deeper)

    def _step(self, state: int, character: str) -> int:
        while state != _ROOT and character not in self._next[state]:
            state = self._shorter[state]
        return self._next[state].get(character, _ROOT)


class OutputSequence:
    """`tokenizer` is transformers' own, with a backend; a token of `ends` ends the text."""

    __slots__ = ("_decoder", "_ends", "_pending", "_stops", "_tokenizer", "key", "prompt_tokens", "tokens")

    def __init__(
        self, prompt: GenerationRequest, *, key: int, prompt_tokens: int, tokenizer: Any, ends: Collection[int]
    ) -> None:
        self.key = key
        self.prompt_tokens = prompt_tokens
        self.tokens = 0
        self._tokenizer = tokenizer
        self._ends = ends
        self._decoder = DecodeStream(skip_special_tokens=True)
        self._stops = StopChecker(prompt.stop)
        # Tokens since the last whole character.
        self._pending: list[int] = []

    def write(self, written: Sequence[int], *, is_done: bool) -> Chunk:
        """What comes of `written`, all tokens so far, of which those that were seen before count no more.

        `is_done`: there will be no more. The piece is the last one then, or when a stop string is complete, or when a
        token is NO_TOKEN.
        """
        texts: list[str] = []
        for token in written[self.tokens :]:
            if token == NO_TOKEN:
                return self._piece("".join(texts), error=WorkerFailed(NAN_LOGITS))
            self.tokens += 1
            texts.append(self._stops.push(self._characters(token)))
            if self._stops.found:
                return self._piece("".join(texts), finish=FinishReason.STOP)
        if not is_done:
            return self._piece("".join(texts))
        texts.append(self._stops.push(self._rest()))
        ended = self._stops.found or (len(written) > 0 and written[-1] in self._ends)
        texts.append(self._stops.flush())
        return self._piece("".join(texts), finish=FinishReason.STOP if ended else FinishReason.LENGTH)

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

    def _piece(self, text: str, *, finish: FinishReason | None = None, error: WorkerFailed | None = None) -> Chunk:
        return Chunk(
            key=self.key,
            text=text,
            tokens=self.tokens,
            prompt_tokens=self.prompt_tokens,
            finish=finish,
            error=error,
        )
