"""What a worker holds: variants by id, from loading to unloading. Everybody who depends on it is told of changes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from sluice.compression.settings import PACKED_SUFFIX
from sluice.errors import InvalidRequest, NoEndpoint, Saturated, SluiceError
from sluice.tier import Tier
from sluice.variant import Variant, VariantState
from sluice.worker.backend import Backend, BackendLoader, Engine, ModelSpec

IDENTITY = "identity"

Result = TypeVar("Result")

logger = logging.getLogger(__name__)


class UnknownCheckpoint(InvalidRequest):
    """There is no such directory, or packed file, under the model root."""


class AlreadyHeld(InvalidRequest):
    """The worker holds this variant."""


class Catalog:
    """Loads beside the device's thread, so that it goes on; frees on that thread, behind what it still does."""

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
        self._root = root
        self._load = load
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

    async def load(self, *, model: str, tier: Tier, checkpoint: str, precision: str = "") -> Variant:
        """Read, warm up and serve a checkpoint; what served before goes on serving meanwhile.

        Raises UnknownCheckpoint, AlreadyHeld, or InvalidRequest naming the file or field at fault.
        """
        spec = ModelSpec(
            model=model,
            tier=tier,
            checkpoint=self._inside_root(checkpoint),
            precision=precision,
            max_batch_size=self._max_batch_size,
            threads=self._threads,
            engine=self._engine,
        )
        return await self._to_the_end(self._load_spec(spec))

    async def _load_spec(self, spec: ModelSpec) -> Variant:
        backend = await asyncio.get_running_loop().run_in_executor(self._loader_thread, self._load_and_warm, spec)
        variant = backend.variant
        if variant.id in self._states:
            await self._close(backend)
            raise AlreadyHeld(f"this worker holds '{variant.id}' already", field="model")
        self._backends[variant.id] = backend
        self._set(variant.id, VariantState.READY)
        return variant

    async def unload(self, variant_id: str) -> None:
        """Take nothing more for a variant, finish what was taken, free it. Raises UnknownCheckpoint if not held."""
        if self._states.get(variant_id) is not VariantState.READY:
            raise UnknownCheckpoint(f"this worker does not hold '{variant_id}'", field="variant")
        self._set(variant_id, VariantState.UNLOADING)
        await self._to_the_end(self._free(variant_id))

    async def _free(self, variant_id: str) -> None:
        # Batches of this variant that were taken stand before this on the device's thread.
        await self._close(self._backends[variant_id])
        del self._backends[variant_id]
        self._set(variant_id, None)

    async def _to_the_end(self, change: Coroutine[Any, Any, Result]) -> Result:
        # A caller who goes away must not leave a variant half loaded, or unloading for ever.
        task = asyncio.ensure_future(change)
        self._changes.add(task)
        task.add_done_callback(self._changes.discard)
        return await asyncio.shield(task)

    def _load_and_warm(self, spec: ModelSpec) -> Backend:
        try:
            backend = self._load(spec)
        except MemoryError as error:
            raise Saturated(f"{spec.checkpoint.name} does not fit into memory", field="checkpoint") from error
        except SluiceError:
            raise
        except Exception as error:
            raise InvalidRequest(f"{spec.checkpoint.name} cannot be loaded: {error}", field="checkpoint") from error
        try:
            backend.warm_up()
        except SluiceError:
            backend.close()
            raise
        except Exception as error:
            backend.close()
            raise InvalidRequest(f"{spec.checkpoint.name} cannot serve: {error}", field="checkpoint") from error
        return backend

    async def _close(self, backend: Backend) -> None:
        await asyncio.get_running_loop().run_in_executor(self._device_thread, backend.close)

    def _inside_root(self, checkpoint: str) -> Path:
        if checkpoint == IDENTITY:
            return Path(IDENTITY)
        if not checkpoint:
            raise InvalidRequest("no checkpoint is named", field="checkpoint")
        root = self._root.resolve()
        try:
            path = (root / checkpoint).resolve()
            is_checkpoint = path.is_dir() or (path.suffix == PACKED_SUFFIX and path.is_file())
        except (ValueError, RuntimeError) as error:
            raise InvalidRequest(f"checkpoint {checkpoint!r} is no path: {error}", field="checkpoint") from error
        except OSError as error:
            raise UnknownCheckpoint(f"checkpoint '{checkpoint}': {error.strerror}", field="checkpoint") from error
        if not path.is_relative_to(root):
            raise InvalidRequest(f"checkpoint '{checkpoint}' leads out of the model root", field="checkpoint")
        if not is_checkpoint:
            problem = f"there is no checkpoint directory, or packed {PACKED_SUFFIX} file, {path}"
            raise UnknownCheckpoint(problem, field="checkpoint")
        return path

    def _set(self, variant_id: str, state: VariantState | None) -> None:
        if state is None:
            del self._states[variant_id]
        else:
            self._states[variant_id] = state
        logger.info("variant", extra={"variant": variant_id, "state": state.name.lower() if state else "gone"})
        for watcher in tuple(self._watchers):
            watcher()
