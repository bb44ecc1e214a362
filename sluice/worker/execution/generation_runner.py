"""A generator at work: its pieces are brought from its own thread to whoever waits for them, on the event loop."""

from __future__ import annotations

import asyncio
import itertools
import logging
import queue
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

from sluice.domain.errors import WorkerFailed
from sluice.domain.variant import Variant
from sluice.worker.execution.backend import Backend, DetectsDeviceLoss
from sluice.worker.execution.generator import Breakable, Chunk, GenerationEngine, GenerationRequest, Tried

logger = logging.getLogger(__name__)


# A text as a worker holds it, from the moment it is taken until its last piece is sent.


# Compared by identity: two texts with the same words are two texts.
@dataclass(slots=True, kw_only=True, eq=False)
class ActiveGeneration:
    """One text. `number` is its router's name for it, `key` its writer's; times are of the monotonic clock in seconds.

    `begun_at` is when it got its memory, None before; `timer` rings at its deadline, and `is_late` when it has.
    """

    number: int
    variant_id: str
    prompt: GenerationRequest
    owner: ChunkListener
    taken_at: float
    timeout_s: float | None = None
    traceparent: str = ""
    key: int = 0
    begun_at: float | None = None
    timer: asyncio.TimerHandle | None = None
    is_late: bool = False


class ChunkListener(Protocol):
    """Who waits for a text."""

    def hear(self, heard: Sequence[tuple[ActiveGeneration, Chunk]]) -> None:
        """What one step of the device wrote for the owner. Called on the event loop."""


# A step that nobody has run may have to be compiled first.
_TRIAL_S = 300.0


class GenerationRunner:
    """Starts `generator` when it is warm. `texts` counts those that have ended, `finished` says that none is open.

    `broke` is called on `loop`, once, when the generator writes no more by itself; its device may be lost or not.

    `warm_up`, `write`, `is_device_lost` and `close` block and belong on a thread; everything else belongs on `loop`.
    """

    def __init__(
        self,
        generator: GenerationEngine,
        loop: asyncio.AbstractEventLoop,
        *,
        broke: Callable[[GenerationRunner], None] | None = None,
    ) -> None:
        self.texts = 0
        self.finished = asyncio.Event()
        self.finished.set()
        self._generator = generator
        self._loop = loop
        self._keys = itertools.count(1)
        self._open: dict[int, ActiveGeneration] = {}
        self._trial: queue.SimpleQueue[Chunk] | None = None
        self._broke = broke

    @property
    def variant(self) -> Variant:
        """What it writes with."""
        return self._generator.variant

    @property
    def busy_s(self) -> float:
        """Seconds in which the generator's device was computing, since the start."""
        return self._generator.busy_s

    def warm_up(self) -> None:
        """Warm up, try out what may be unable to write, and write from now on.

        Raises what the generator's own warm-up raises, and what a trial ends with.
        """
        self._generator.warm_up()
        self._generator.start(self._hear)
        if isinstance(self._generator, Tried):
            error = self.write(self._generator.trial).error
            if error is not None:
                raise error

    def write(self, prompt: GenerationRequest) -> Chunk:
        """Write one text and return its last piece, before anybody is served: how it is tried out."""
        heard: queue.SimpleQueue[Chunk] = queue.SimpleQueue()
        self._trial = heard
        key = next(self._keys)
        self._generator.begin(key, prompt)
        try:
            while not (piece := heard.get(timeout=_TRIAL_S)).is_last:
                pass
        except queue.Empty:
            return Chunk(key=key, error=WorkerFailed(f"it wrote nothing in {_TRIAL_S:.0f} s"))
        finally:
            self._trial = None
        return piece

    @property
    def trouble(self) -> str:
        """Why the generator writes no more; empty while it does, or if it cannot tell."""
        return self._generator.trouble if isinstance(self._generator, Breakable) else ""

    def begin(self, writing: ActiveGeneration) -> None:
        """Write a text: its owner hears any number of pieces, and exactly one last one."""
        writing.key = next(self._keys)
        self._open[writing.key] = writing
        self.finished.clear()
        try:
            self._generator.begin(writing.key, writing.prompt)
        except Exception as error:
            logger.exception("a text cannot be begun", extra={"variant": self.variant.id})
            self._deliver([Chunk(key=writing.key, error=WorkerFailed(f"{type(error).__name__}: {error}"))])

    def cancel(self, writing: ActiveGeneration) -> None:
        """End a text: its last piece comes when its memory is free. Nothing happens if it has ended."""
        if writing.key in self._open:
            self._generator.cancel(writing.key)

    def is_device_lost(self) -> bool:
        """Whether its generator says so, if it can say."""
        return isinstance(self._generator, DetectsDeviceLoss) and self._generator.is_device_lost()

    def close(self) -> None:
        """Free the generator's memory. Texts that are still open end with NoEndpoint."""
        self._generator.close()

    def _hear(self, pieces: Sequence[Chunk]) -> None:
        if self._trial is not None:
            for piece in pieces:
                self._trial.put(piece)
        else:
            # A loop that is closed has nobody left to tell.
            with suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._deliver, pieces)

    def _deliver(self, pieces: Sequence[Chunk]) -> None:
        if not pieces and self._broke is not None and self.trouble:
            broke, self._broke = self._broke, None
            broke(self)
        by_owner: dict[ChunkListener, list[tuple[ActiveGeneration, Chunk]]] = {}
        for piece in pieces:
            writing = self._open.get(piece.key)
            if writing is None:
                continue
            if piece.is_last:
                del self._open[piece.key]
                self.texts += 1
            by_owner.setdefault(writing.owner, []).append((writing, piece))
        if not self._open:
            self.finished.set()
        for owner, heard in by_owner.items():
            owner.hear(heard)


LoadedModel = Backend | GenerationRunner
"""What is loaded, served and freed, whatever it does with a text."""


# All of a worker's writers: how busy they keep their devices, and how many texts they have written.


class GenerationRunners:
    """Sums over those that are here and those that have gone, so that neither of them ever falls."""

    def __init__(self) -> None:
        self._writers: set[GenerationRunner] = set()
        self._past_busy_s = 0.0
        self._past_texts = 0

    def __bool__(self) -> bool:
        """Whether there is one."""
        return bool(self._writers)

    @property
    def busy_s(self) -> float:
        """Seconds in which their devices were computing, since the start."""
        return self._past_busy_s + sum(writer.busy_s for writer in self._writers)

    @property
    def texts(self) -> int:
        """Texts that have ended."""
        return self._past_texts + sum(writer.texts for writer in self._writers)

    def add(self, writer: GenerationRunner) -> None:
        """It is staged."""
        self._writers.add(writer)

    def remove(self, writer: GenerationRunner) -> None:
        """It is about to be freed."""
        if writer in self._writers:
            self._writers.remove(writer)
            self._past_busy_s += writer.busy_s
            self._past_texts += writer.texts

    def take_all(self) -> list[GenerationRunner]:
        """Remove all of them."""
        writers = list(self._writers)
        for writer in writers:
            self.remove(writer)
        return writers
