"""The device: one thread that executes one batch after the other, in the order in which they were taken.

While a batch is computed, the next ones are prepared on a second thread, if their backend can do that: then the device
does not wait for their texts to be read. What is past its deadline or cancelled when its batch is begun is not
computed. When the device is lost, the batch that found out has failed, and those behind it are given back untouched.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress

from sluice.domain.errors import Cancelled, Expired, NoEndpoint, SluiceError, WorkerFailed
from sluice.runtime.tracing import trace_id_of
from sluice.worker.execution.backend import Backend, DetectsDeviceLoss, Item, Output, SupportsPrefetch
from sluice.worker.execution.batch import BatchItem, BatchOutcome, WorkerBatch
from sluice.worker.execution.batch_runner import DeviceLost, run_batch
from sluice.worker.execution.device_health import DeviceLossLatch
from sluice.worker.execution.generation_runner import LoadedModel
from sluice.worker.models.registry import ModelRegistry

logger = logging.getLogger(__name__)


class DeviceExecutor:
    """Executes batches on `thread` and prepares them on `preparer`, if there is one; each of the two is one thread.

    Its queue is bounded by the credits that were granted. `loss` is told when the device is lost. `items` counts what
    was computed.
    """

    def __init__(
        self,
        thread: ThreadPoolExecutor,
        catalog: ModelRegistry,
        *,
        preparer: ThreadPoolExecutor | None = None,
        loss: DeviceLossLatch | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._thread = thread
        self._preparer = preparer
        self._loss = loss
        self._open = 0
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

    def submit(self, work: WorkerBatch) -> None:
        """Execute `work` when those before it are done; `work.done` is set on the loop, with no exception ever."""
        try:
            backend = self._catalog.backend(work.variant_id)
        except SluiceError as error:
            outputs: dict[int, Output] = {item.id: error for item in work.items}
            work.done.set_result(BatchOutcome(outputs=outputs, wait_s=0.0, compute_s=0.0))
            return
        loop = asyncio.get_running_loop()
        ready = None
        # Where the device is free, another thread would only be in its way.
        if self._preparer is not None and self._open and isinstance(backend, SupportsPrefetch):
            ready = self._preparer.submit(prepare, backend, [item.item for item in work.items])
        self._open += 1
        self._thread.submit(self._run, backend, work, ready, loop)

    def probe(self) -> None:
        """Try the device behind what it has to do, and report it if it is lost."""
        for variant in self._catalog.variants():
            with suppress(NoEndpoint):
                self._thread.submit(self._try, self._catalog.servable(variant.id))

    def _try(self, servable: LoadedModel) -> None:
        if self._loss is not None and isinstance(servable, DetectsDeviceLoss) and servable.is_device_lost():
            self._loss.report("it does not compute any more")

    def _run(
        self,
        backend: Backend,
        work: WorkerBatch,
        ready: Future[Sequence[Item]] | None,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        items = ready.result() if ready is not None else [item.item for item in work.items]
        begun_at = self._clock()
        self._begun_at = begun_at
        outputs: dict[int, Output] = {}
        alive, inputs = [], []
        for item, input_ in zip(work.items, items, strict=True):
            if item.id in work.cancelled:
                outputs[item.id] = Cancelled("nobody waited for it any more")
            elif item.deadline <= begun_at:
                outputs[item.id] = Expired("the deadline passed before the batch was begun")
            else:
                alive.append(item)
                inputs.append(input_)
        if alive:
            results = self._execute(backend, inputs)
            outputs.update(zip((item.id for item in alive), results, strict=True))
            _log_failures(alive, results)
        ended_at = self._clock()
        self._busy_s += ended_at - begun_at
        self.items += len(alive)
        self._begun_at = None
        done = BatchOutcome(outputs=outputs, wait_s=begun_at - work.taken_at, compute_s=ended_at - begun_at)
        loop.call_soon_threadsafe(self._resolve, work.done, done)

    def _execute(self, backend: Backend, items: Sequence[Item]) -> list[Output]:
        if self._loss is not None and self._loss.why:
            return [NoEndpoint("this worker has lost its device")] * len(items)
        try:
            return run_batch(backend, items)
        except DeviceLost as error:
            if self._loss is not None:
                self._loss.report(str(error))
            return [WorkerFailed(f"the device was lost: {error}")] * len(items)

    def _resolve(self, future: asyncio.Future[BatchOutcome], done: BatchOutcome) -> None:
        self._open -= 1
        if not future.done():
            future.set_result(done)


def _log_failures(items: Sequence[BatchItem], outputs: Sequence[Output]) -> None:
    for item, output in zip(items, outputs, strict=True):
        if isinstance(output, WorkerFailed):
            extra = {"item": item.id, "trace_id": trace_id_of(item.traceparent), "why": output.message}
            logger.error("an item failed", extra=extra)


def prepare(backend: SupportsPrefetch, items: Sequence[Item]) -> Sequence[Item]:
    """The items, prepared unless that fails: whoever executes them then meets the same failure, and finds its cause."""
    try:
        prepared = backend.prepare(items)
    except Exception:
        logger.warning("a batch cannot be prepared ahead", extra={"items": len(items)}, exc_info=True)
        return items
    return prepared if len(prepared) == len(items) else items
