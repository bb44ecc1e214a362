"""What a worker holds: variants by id, from loading to unloading. Everybody who depends on it is told of changes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import Executor
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from sluice.errors import InvalidRequest, NoEndpoint, Saturated, SluiceError
from sluice.tier import Tier
from sluice.variant import Variant, VariantState
from sluice.worker.backend import Backend, BackendLoader, Engine, ModelSpec
from sluice.worker.model_root import UnknownCheckpoint, checkpoint_under
from sluice.worker.release import release

Examine = Callable[[Backend], object]
Result = TypeVar("Result")

logger = logging.getLogger(__name__)


class AlreadyHeld(InvalidRequest):
    """The worker holds this variant."""


class Catalog:
    """Loads beside the device's thread, so that it goes on; frees on that thread, behind what it still does.

    A backend is staged (in memory and warm), then served (listed, and requests come), then withdrawn, then discarded.
    `devices` are the types of device that anything was ever staged on.
    """

    def __init__(
        self,
        *,
        root: Path,
        load: BackendLoader,
        loader_thread: Executor,
        device_thread: Executor,
        max_batch_size: int,
        threads: int,
        engine: Engine = Engine.AUTO,
    ) -> None:
        self.devices: set[str] = set()
        self._root = root
        self._loader = load
        self._loader_thread = loader_thread
        self._device_thread = device_thread
        self._max_batch_size = max_batch_size
        self._threads = threads
        self._engine = engine
        self._backends: dict[str, Backend] = {}
        self._states: dict[str, VariantState] = {}
        self._watchers: set[Callable[[], None]] = set()
        self._changes: set[asyncio.Task[Any]] = set()

    def variants(self) -> tuple[Variant, ...]:
        """Everything that is held, ordered by id."""
        return tuple(replace(self._backends[name].variant, state=state) for name, state in sorted(self._states.items()))

    @property
    def ready(self) -> bool:
        """Whether any variant can serve."""
        return VariantState.READY in self._states.values()

    def watch(self, watcher: Callable[[], None]) -> Callable[[], None]:
        """Call `watcher` after every change, on the loop; returns what ends that."""
        self._watchers.add(watcher)
        return lambda: self._watchers.discard(watcher)

    def backend(self, variant_id: str) -> Backend:
        """The backend of a ready variant. Raises NoEndpoint."""
        if self._states.get(variant_id) is not VariantState.READY:
            raise NoEndpoint(f"this worker does not serve '{variant_id}'")
        return self._backends[variant_id]

    def backends(self) -> tuple[Backend, ...]:
        """Everything that is served, or is being unloaded."""
        return tuple(self._backends.values())

    def serves(self, backend: Backend) -> bool:
        """Whether requests for its variant go to `backend`."""
        name = backend.variant.id
        return self._states.get(name) is VariantState.READY and self._backends[name] is backend

    async def load(self, *, model: str, tier: Tier, checkpoint: str, precision: str = "") -> Variant:
        """Read, warm up and serve a checkpoint; what served before goes on serving meanwhile.

        Raises UnknownCheckpoint, AlreadyHeld, or InvalidRequest naming the file or field at fault.
        """
        spec = self.spec(model=model, tier=tier, checkpoint=checkpoint, precision=precision)
        return await self._to_the_end(self._stage_and_serve(spec))

    async def unload(self, variant_id: str) -> None:
        """Take nothing more for a variant, finish what was taken, free it. Raises UnknownCheckpoint if not held."""
        backend = self._begin_unloading(variant_id)
        await self._to_the_end(self._end_unloading(variant_id, self.discard(backend)))

    def spec(self, *, model: str, tier: Tier, checkpoint: str, precision: str = "") -> ModelSpec:
        """What `stage` takes, for a checkpoint under the root. Raises UnknownCheckpoint or InvalidRequest."""
        return ModelSpec(
            model=model,
            tier=tier,
            checkpoint=checkpoint_under(self._root, checkpoint),
            precision=precision,
            max_batch_size=self._max_batch_size,
            threads=self._threads,
            engine=self._engine,
        )

    async def stage(self, spec: ModelSpec, examine: Examine | None = None) -> Backend:
        """Read, warm up and examine a checkpoint, and serve it not yet.

        `examine` is called on the loader's thread; what it raises is a checkpoint's fault like any other. Raises
        InvalidRequest naming the file or field at fault, and Saturated when there is no room for it.
        """
        loop = asyncio.get_running_loop()
        backend = await loop.run_in_executor(self._loader_thread, self._load_and_warm, spec, examine)
        self.devices.add(backend.variant.device)
        return backend

    def serve(self, backend: Backend) -> Variant:
        """Serve what was staged. Raises AlreadyHeld."""
        variant = backend.variant
        if variant.id in self._states:
            raise AlreadyHeld(f"this worker holds '{variant.id}' already", field="model")
        self._backends[variant.id] = backend
        self._set(variant.id, VariantState.READY)
        return variant

    async def withdraw(self, variant_id: str) -> Backend:
        """Take nothing more for a variant, finish what was taken, keep it staged. Raises UnknownCheckpoint."""
        backend = self._begin_unloading(variant_id)
        await self._to_the_end(self._end_unloading(variant_id, self._on_device(lambda: None)))
        return backend

    async def discard(self, backend: Backend) -> None:
        """Free what is staged."""
        await self._on_device(lambda: release(backend))

    async def _stage_and_serve(self, spec: ModelSpec) -> Variant:
        backend = await self.stage(spec)
        try:
            return self.serve(backend)
        except AlreadyHeld:
            await self.discard(backend)
            raise

    def _begin_unloading(self, variant_id: str) -> Backend:
        if self._states.get(variant_id) is not VariantState.READY:
            raise UnknownCheckpoint(f"this worker does not hold '{variant_id}'", field="variant")
        self._set(variant_id, VariantState.UNLOADING)
        return self._backends[variant_id]

    async def _end_unloading(self, variant_id: str, work: Awaitable[None]) -> None:
        # Batches of this variant that were taken stand before this on the device's thread.
        try:
            await work
        finally:
            del self._backends[variant_id]
            self._set(variant_id, None)

    async def _on_device(self, work: Callable[[], None]) -> None:
        await asyncio.get_running_loop().run_in_executor(self._device_thread, work)

    async def _to_the_end(self, change: Coroutine[Any, Any, Result]) -> Result:
        # A caller who goes away must not leave a variant half loaded, or unloading for ever.
        task = asyncio.ensure_future(change)
        self._changes.add(task)
        task.add_done_callback(self._changes.discard)
        return await asyncio.shield(task)

    def _load_and_warm(self, spec: ModelSpec, examine: Examine | None) -> Backend:
        try:
            backend = self._loader(spec)
        except MemoryError as error:
            raise Saturated(f"{spec.checkpoint.name} does not fit into memory", field="checkpoint") from error
        except SluiceError:
            raise
        except Exception as error:
            raise InvalidRequest(f"{spec.checkpoint.name} cannot be loaded: {error}", field="checkpoint") from error
        try:
            backend.warm_up()
            if examine is not None:
                examine(backend)
        except SluiceError:
            release(backend)
            raise
        except Exception as error:
            release(backend)
            raise InvalidRequest(f"{spec.checkpoint.name} cannot serve: {error}", field="checkpoint") from error
        return backend

    def _set(self, variant_id: str, state: VariantState | None) -> None:
        if state is None:
            del self._states[variant_id]
        else:
            self._states[variant_id] = state
        logger.info("variant", extra={"variant": variant_id, "state": state.name.lower() if state else "gone"})
        for watcher in tuple(self._watchers):
            watcher()
