"""A generator at work: its pieces are brought from its own thread to whoever waits for them, on the event loop."""

from __future__ import annotations

import asyncio
import itertools
import logging
import queue
from collections.abc import Sequence
from contextlib import suppress

from sluice.errors import WorkerFailed
from sluice.variant import Variant
from sluice.worker.backend import Backend, Mortal
from sluice.worker.generator import Generator, Piece, Prompt
from sluice.worker.writing import Owner, Writing

logger = logging.getLogger(__name__)


class Writer:
    """Starts `generator` when it is warm. `texts` counts those that have ended, `finished` says that none is open.

    `warm_up`, `write`, `is_device_lost` and `close` block and belong on a thread; everything else belongs on `loop`.
    """

    def __init__(self, generator: Generator, loop: asyncio.AbstractEventLoop) -> None:
        self.texts = 0
        self.finished = asyncio.Event()
        self.finished.set()
        self._generator = generator
        self._loop = loop
        self._keys = itertools.count(1)
        self._open: dict[int, Writing] = {}
        self._trial: queue.SimpleQueue[Piece] | None = None

    @property
    def variant(self) -> Variant:
        """What it writes with."""
        return self._generator.variant

    @property
    def busy_s(self) -> float:
        """Seconds in which the generator's device was computing, since the start."""
        return self._generator.busy_s

    def warm_up(self) -> None:
        """Warm up, and write from now on. Raises what the generator's own warm-up raises."""
        self._generator.warm_up()
        self._generator.start(self._hear)

    def write(self, prompt: Prompt) -> Piece:
        """Write one text and return its last piece, before anybody is served: how it is tried out."""
        heard: queue.SimpleQueue[Piece] = queue.SimpleQueue()
        self._trial = heard
        self._generator.begin(next(self._keys), prompt)
        while not (piece := heard.get()).is_last:
            pass
        self._trial = None
        return piece

    def begin(self, writing: Writing) -> None:
        """Write a text: its owner hears any number of pieces, and exactly one last one."""
        writing.key = next(self._keys)
        self._open[writing.key] = writing
        self.finished.clear()
        try:
            self._generator.begin(writing.key, writing.prompt)
        except Exception as error:
            logger.exception("a text cannot be begun", extra={"variant": self.variant.id})
            self._deliver([Piece(key=writing.key, error=WorkerFailed(f"{type(error).__name__}: {error}"))])

    def cancel(self, writing: Writing) -> None:
        """End a text: its last piece comes when its memory is free. Nothing happens if it has ended."""
        if writing.key in self._open:
            self._generator.cancel(writing.key)

    def is_device_lost(self) -> bool:
        """Whether its generator says so, if it can say."""
        return isinstance(self._generator, Mortal) and self._generator.is_device_lost()

    def close(self) -> None:
        """Free the generator's memory. Texts that are still open end with NoEndpoint."""
        self._generator.close()

    def _hear(self, pieces: Sequence[Piece]) -> None:
        if self._trial is not None:
            for piece in pieces:
                self._trial.put(piece)
        else:
            # A loop that is closed has nobody left to tell.
            with suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._deliver, pieces)

    def _deliver(self, pieces: Sequence[Piece]) -> None:
        by_owner: dict[Owner, list[tuple[Writing, Piece]]] = {}
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


Servable = Backend | Writer
"""What is loaded, served and freed, whatever it does with a text."""
