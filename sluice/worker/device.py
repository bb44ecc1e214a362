"""The device: one thread that executes one batch after the other, in the order in which they were taken.

What is past its deadline or cancelled when its batch is begun is not computed. A batch that fails as a whole is run
again item by item, so that one poisonous text costs only itself.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from sluice.errors import Cancelled, Expired, SluiceError, WorkerFailed
from sluice.telemetry import trace_id_of
from sluice.worker.backend import Backend, Item, Output
from sluice.worker.catalog import Catalog
from sluice.worker.work import Done, Work, WorkItem

logger = logging.getLogger(__name__)


class Device:
    """Executes batches. Its queue is bounded by the credits that were granted. `items` counts what was computed."""

    def __init__(
        self, thread: ThreadPoolExecutor, catalog: Catalog, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._thread = thread
        self._catalog = catalog
        self._clock = clock
        self._busy_s = 0.0
        self._begun_at: float | None = None
        self.items = 0

    @property
    def busy_s(self) -> float:
        """How long the device has been busy since the start; differences give its utilisation."""
        begun_at = self._begun_at
        return self._busy_s + (self._clock() - begun_at if begun_at is not None else 0.0)

    def submit(self, work: Work) -> None:
        """Execute `work` when those before it are done; `work.done` is set on the loop, with no exception ever."""
        try:
            backend = self._catalog.backend(work.variant_id)
        except SluiceError as error:
            outputs: dict[int, Output] = {item.id: error for item in work.items}
            work.done.set_result(Done(outputs=outputs, wait_s=0.0, compute_s=0.0))
            return
        loop = asyncio.get_running_loop()
        self._thread.submit(self._run, backend, work, loop)

    def _run(self, backend: Backend, work: Work, loop: asyncio.AbstractEventLoop) -> None:
        begun_at = self._clock()
        self._begun_at = begun_at
        outputs: dict[int, Output] = {}
        alive = []
        for item in work.items:
            if item.id in work.cancelled:
                outputs[item.id] = Cancelled("nobody waited for it any more")
            elif item.deadline <= begun_at:
                outputs[item.id] = Expired("the deadline passed before the batch was begun")
            else:
                alive.append(item)
        if alive:
            results = execute(backend, [item.item for item in alive])
            outputs.update(zip((item.id for item in alive), results, strict=True))
            _log_failures(alive, results)
        ended_at = self._clock()
        self._busy_s += ended_at - begun_at
        self.items += len(alive)
        self._begun_at = None
        done = Done(outputs=outputs, wait_s=begun_at - work.taken_at, compute_s=ended_at - begun_at)
        loop.call_soon_threadsafe(_resolve, work.done, done)


def _log_failures(items: Sequence[WorkItem], outputs: Sequence[Output]) -> None:
    for item, output in zip(items, outputs, strict=True):
        if isinstance(output, WorkerFailed):
            extra = {"item": item.id, "trace_id": trace_id_of(item.traceparent), "why": output.message}
            logger.error("an item failed", extra=extra)


def _resolve(future: asyncio.Future[Done], done: Done) -> None:
    if not future.done():
        future.set_result(done)


def execute(backend: Backend, items: Sequence[Item]) -> list[Output]:
    """One output per item, whatever the backend does."""
    try:
        outputs = backend.execute(items)
        if len(outputs) == len(items):
            return outputs
        problem = f"the backend gave {len(outputs)} outputs for {len(items)} items"
        logger.error(problem)
    except Exception as error:
        logger.exception("a batch failed", extra={"items": len(items)})
        problem = f"{type(error).__name__}: {error}"
    if len(items) == 1:
        return [WorkerFailed(problem)]
    return [output for item in items for output in execute(backend, [item])]
