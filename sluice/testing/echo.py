"""A generator without a model: it writes the prompt's own words back, one each step. For tests and benchmarks."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Sequence

from sluice.domain.enums import Task
from sluice.domain.errors import Cancelled, InvalidRequest, NoEndpoint
from sluice.domain.variant import Variant, variant_id
from sluice.worker.execution.backend import ModelSpec
from sluice.worker.execution.generator import Chunk, FinishReason, GenerationRequest, OnChunks

MEMORY_TOKENS = 1 << 20
MAX_TOKENS = 65_536
MAX_GENERATIONS = 4_096


class EchoGenerator:
    """Texts end with their prompts; a step takes `step_s`, and `memory_tokens` bound the words of all open texts.

    A word is a token. A text's prompt and all that it may write have their memory from its first step to its last.
    """

    def __init__(
        self,
        spec: ModelSpec,
        *,
        step_s: float = 0.0,
        memory_tokens: int = MEMORY_TOKENS,
        max_generations: int = MAX_GENERATIONS,
    ) -> None:
        self.busy_s = 0.0
        self.variant = Variant(
            id=variant_id(spec.model, spec.tier, spec.precision or "fp32"),
            model=spec.model,
            tier=spec.tier,
            task=Task.TEXT_GENERATION,
            precision=spec.precision or "fp32",
            max_tokens=MAX_TOKENS,
            max_batch_size=spec.max_batch_size,
            cache_tokens=memory_tokens,
            max_generations=max_generations,
        )
        self._step_s = step_s
        self._changed = threading.Condition()
        self._waiting: deque[_Echo] = deque()
        self._written: dict[int, _Echo] = {}
        self._cancelled: set[int] = set()
        self._closed = False
        self._hear: OnChunks | None = None
        self._thread = threading.Thread(target=self._run, name="echo", daemon=True)

    @property
    def open_texts(self) -> int:
        """Texts that wait or are written."""
        return len(self._waiting) + len(self._written)

    @property
    def held_tokens(self) -> int:
        """Tokens of memory in use."""
        return sum(echo.held for echo in list(self._written.values()))

    def warm_up(self) -> None:
        """There is nothing to warm."""

    def start(self, hear: OnChunks) -> None:
        """Start the thread."""
        self._hear = hear
        self._thread.start()

    def begin(self, key: int, prompt: GenerationRequest) -> None:
        """Write the prompt back, when there is room."""
        with self._changed:
            self._waiting.append(_Echo(key, prompt, memory_tokens=self.variant.cache_tokens))
            self._changed.notify()

    def cancel(self, key: int) -> None:
        """Forget the text before the next step."""
        with self._changed:
            self._cancelled.add(key)
            self._changed.notify()

    def close(self) -> None:
        """End the thread, and all texts."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        if self._hear is not None:
            self._thread.join()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closed or self._waiting or self._written or self._cancelled)
                pieces = self._forget_cancelled()
                pieces += self._let_in()
                closed = self._closed
                if closed:
                    pieces += [Chunk(key=echo.key, error=NoEndpoint("the model is unloaded")) for echo in self._all()]
                    self._written.clear()
                    self._waiting.clear()
            self._say(pieces)
            if closed:
                return
            self._step()

    def _step(self) -> None:
        begun_at = time.perf_counter()
        if self._written and self._step_s:
            time.sleep(self._step_s)
        with self._changed:
            pieces = [echo.next_piece() for echo in self._written.values()]
            for piece in pieces:
                if piece.is_last:
                    del self._written[piece.key]
        self.busy_s += time.perf_counter() - begun_at
        self._say(pieces)

    def _say(self, pieces: Sequence[Chunk]) -> None:
        if pieces and self._hear is not None:
            self._hear(pieces)

    def _all(self) -> list[_Echo]:
        return [*self._written.values(), *self._waiting]

    def _forget_cancelled(self) -> list[Chunk]:
        gone = [echo for echo in self._all() if echo.key in self._cancelled] if self._cancelled else []
        self._cancelled.clear()
        for echo in gone:
            if self._written.pop(echo.key, None) is None:
                self._waiting.remove(echo)
        return [echo.ended_by_cancel() for echo in gone]

    def _let_in(self) -> list[Chunk]:
        """The first pieces of the texts that fit now, and the only ones of those that never do; the others wait."""
        pieces: list[Chunk] = []
        room = self.variant.cache_tokens - self.held_tokens
        while self._waiting:
            echo = self._waiting[0]
            if echo.problem:
                pieces.append(Chunk(key=echo.key, error=InvalidRequest(echo.problem, field="prompt")))
            elif echo.held > room or len(self._written) >= self.variant.max_generations:
                break
            else:
                room -= echo.held
                self._written[echo.key] = echo
                pieces.append(Chunk(key=echo.key, prompt_tokens=echo.prompt_tokens))
            self._waiting.popleft()
        return pieces


class _Echo:
    """One text: the words that may be written, and where a stop string ends them."""

    def __init__(self, key: int, prompt: GenerationRequest, *, memory_tokens: int) -> None:
        self.key = key
        words = prompt.text.split()
        self.prompt_tokens = len(words)
        limit = min(prompt.max_new_tokens, min(MAX_TOKENS, memory_tokens) - len(words))
        self.problem = _problem(words, limit)
        self.held = len(words) + limit
        self._words = words[:limit] if limit > 0 else []
        self._finish = FinishReason.STOP if limit >= len(words) else FinishReason.LENGTH
        self._cut_at, self._stopped_at = _first_of(prompt.stop, " ".join(self._words))
        self._tokens = self._length = 0

    def next_piece(self) -> Chunk:
        """The next word, without what a stop string cuts off or may yet cut off."""
        text = f"{' ' if self._tokens else ''}{self._words[self._tokens]}"
        room = max(0, self._cut_at - self._length)
        self._tokens += 1
        self._length += len(text)
        finish = self._finish if self._tokens == len(self._words) else None
        if self._length >= self._stopped_at:
            finish = FinishReason.STOP
        return Chunk(
            key=self.key, text=text[:room], tokens=self._tokens, prompt_tokens=self.prompt_tokens, finish=finish
        )

    def ended_by_cancel(self) -> Chunk:
        """The last piece of a text that nobody waits for."""
        error = Cancelled("nobody waited for it any more")
        return Chunk(key=self.key, tokens=self._tokens, prompt_tokens=self.prompt_tokens, error=error)


def _problem(words: Sequence[str], limit: int) -> str:
    if not words:
        return "the prompt has no words"
    return f"the prompt has {len(words)} tokens, which leaves no room for another one" if limit < 1 else ""


def _first_of(stops: Sequence[str], text: str) -> tuple[int, int]:
    """Where the one of `stops` that is complete first begins and ends in `text`; beyond it if there is none."""
    found = [(at + len(stop), at) for stop in stops if (at := text.find(stop)) >= 0]
    end, begin = min(found, default=(len(text) + 1, len(text) + 1))
    return begin, end
