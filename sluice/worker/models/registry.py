"""What a worker holds: variants by id, from loading to unloading. Everybody who depends on it is told of changes."""

from __future__ import annotations

import asyncio
import ctypes
import gc
import logging
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import Executor
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from sluice.compression.settings import PACKED_SUFFIX
from sluice.domain.enums import Tier
from sluice.domain.errors import InvalidRequest, NoEndpoint, Saturated, SluiceError, WorkerFailed
from sluice.domain.variant import Variant, VariantState, check
from sluice.worker.execution.backend import Backend, BackendLoader, CpuRuntime, ModelSpec
from sluice.worker.execution.generation_runner import GenerationRunner, GenerationRunners, LoadedModel
from sluice.worker.execution.generator import DEFAULT_ROOM, GenerationEngine, GenerationLimits
from sluice.worker.execution.openai_config import OpenAIServer

logger = logging.getLogger(__name__)


# Freeing a model for real: what its memory was goes back to the device and to the operating system.


def release(servable: LoadedModel) -> None:
    """Close `servable`, collect what only cycles hold, and let the C library give back the pages that are left empty.

    Without the last step a model that was converted while it was read (bf16 from fp32, say) leaves a fifth of itself
    behind in the allocator: never used again, and never anyone else's. What was frozen is frozen again, whether or not
    `servable` had to thaw it.
    """
    was_frozen = gc.get_freeze_count() > 0
    servable.close()
    gc.collect()
    if was_frozen:
        gc.freeze()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    # Only glibc has it.
    if trim is not None:
        trim(0)


# The model root: the directory under which a worker looks for checkpoints, and outside of which it reads nothing.


# Models without files, for tests and benchmarks: one answers at once, the other writes back what it is given.
IDENTITY = "identity"
ECHO = "echo"


class UnknownCheckpoint(InvalidRequest):
    """There is no such directory, or packed file, under the model root."""


def checkpoint_under(root: Path, name: str) -> Path:
    """The checkpoint that `name` means, relative to `root`; `identity` and `echo` are models without files.

    Raises UnknownCheckpoint, or InvalidRequest for a name that is no path or leads out of the root.
    """
    if name in {IDENTITY, ECHO}:
        return Path(name)
    if not name:
        raise InvalidRequest("no checkpoint is named", field="checkpoint")
    root = root.resolve()
    try:
        path = (root / name).resolve()
        is_checkpoint = path.is_dir() or (path.suffix == PACKED_SUFFIX and path.is_file())
    except (ValueError, RuntimeError) as error:
        raise InvalidRequest(f"checkpoint {name!r} is no path: {error}", field="checkpoint") from error
    except OSError as error:
        raise UnknownCheckpoint(f"checkpoint '{name}': {error.strerror}", field="checkpoint") from error
    if not path.is_relative_to(root):
        raise InvalidRequest(f"checkpoint '{name}' leads out of the model root", field="checkpoint")
    if not is_checkpoint:
        problem = f"there is no checkpoint directory, or packed {PACKED_SUFFIX} file, {path}"
        raise UnknownCheckpoint(problem, field="checkpoint")
    return path


Examine = Callable[[LoadedModel], object]
Result = TypeVar("Result")


class AlreadyHeld(InvalidRequest):
    """The worker holds this variant."""


class ModelRegistry:
    """Loads beside the device's thread, so that it goes on; frees on that thread, behind what it still does.

    A model is staged (in memory and warm), then served (listed, and requests come), then withdrawn, then discarded.
    `devices` are the types of device that anything was ever staged on, `writers` all that is staged and writes text.
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
        engine: CpuRuntime = CpuRuntime.AUTO,
        generation: GenerationLimits = DEFAULT_ROOM,
    ) -> None:
        self.devices: set[str] = set()
        self.writers = GenerationRunners()
        self._root = root
        self._loader = load
        self._loader_thread = loader_thread
        self._device_thread = device_thread
        self._max_batch_size = max_batch_size
        self._threads = threads
        self._engine = engine
        self._generation = generation
        self._served: dict[str, LoadedModel] = {}
        self._states: dict[str, VariantState] = {}
        self._watchers: set[Callable[[], None]] = set()
        self._changes: set[asyncio.Task[Any]] = set()

    def variants(self) -> tuple[Variant, ...]:
        """Everything that is held, ordered by id."""
        return tuple(replace(self._served[name].variant, state=state) for name, state in sorted(self._states.items()))

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
        found = self.servable(variant_id)
        if isinstance(found, GenerationRunner):
            raise NoEndpoint(f"'{variant_id}' writes texts and takes no batches")
        return found

    def writer(self, variant_id: str) -> GenerationRunner:
        """The writer of a ready variant. Raises NoEndpoint."""
        found = self.servable(variant_id)
        if not isinstance(found, GenerationRunner):
            raise NoEndpoint(f"'{variant_id}' writes no text")
        return found

    def serves(self, servable: LoadedModel) -> bool:
        """Whether requests for its variant go to `servable`."""
        return self._states.get(name := servable.variant.id) is VariantState.READY and self._served[name] is servable

    async def load(self, *, model: str, tier: Tier, checkpoint: str, precision: str = "") -> Variant:
        """Read, warm up and serve a checkpoint; what served before goes on serving meanwhile.

        Raises UnknownCheckpoint, AlreadyHeld, or InvalidRequest naming the file or field at fault.
        """
        spec = self.spec(model=model, tier=tier, checkpoint=checkpoint, precision=precision)
        return await self._to_the_end(self._stage_and_serve(spec))

    async def connect(self, server: OpenAIServer, *, model: str, tier: Tier, precision: str = "") -> Variant:
        """Serve what an engine in another process writes. Raises as `load` does, and NoEndpoint when nobody answers."""
        spec = ModelSpec(
            model=model,
            tier=tier,
            checkpoint=Path(server.model),
            precision=precision,
            max_batch_size=self._max_batch_size,
            openai=server,
        )
        return await self._to_the_end(self._stage_and_serve(spec))

    async def unload(self, variant_id: str) -> None:
        """Take nothing more for a variant, finish what was taken, free it. Raises UnknownCheckpoint if not held."""
        servable = self._begin_unloading(variant_id)
        await self._to_the_end(self._end_unloading(variant_id, servable, then=self.discard))

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
            generation=self._generation,
        )

    async def stage(self, spec: ModelSpec, examine: Examine | None = None) -> LoadedModel:
        """Read, warm up and examine a checkpoint, and serve it not yet.

        `examine` is called on the loader's thread; what it raises is a checkpoint's fault like any other. Raises
        InvalidRequest naming the file or field at fault, and Saturated when there is no room for it.
        """
        loop = asyncio.get_running_loop()
        servable = await loop.run_in_executor(self._loader_thread, self._load_and_warm, spec, examine, loop)
        self.devices.add(servable.variant.device)
        if isinstance(servable, GenerationRunner):
            self.writers.add(servable)
        return servable

    def serve(self, servable: LoadedModel) -> Variant:
        """Serve what was staged. Raises AlreadyHeld."""
        variant = servable.variant
        if variant.id in self._states:
            raise AlreadyHeld(f"this worker holds '{variant.id}' already", field="model")
        self._served[variant.id] = servable
        self._set(variant.id, VariantState.READY)
        return variant

    async def withdraw(self, variant_id: str) -> None:
        """Take nothing more for a variant, finish what was taken, keep it staged. Raises UnknownCheckpoint."""
        servable = self._begin_unloading(variant_id)
        await self._to_the_end(self._end_unloading(variant_id, servable, then=self._keep))

    async def discard(self, servable: LoadedModel) -> None:
        """Free what is staged."""
        if isinstance(servable, GenerationRunner):
            self.writers.remove(servable)
        await self._on_device(lambda: release(servable))

    async def close(self) -> None:
        """End all that writes, whose threads would else outlive the worker. Texts that are open end with NoEndpoint."""
        for writer in self.writers.take_all():
            await self._on_device(writer.close)

    async def _stage_and_serve(self, spec: ModelSpec) -> Variant:
        servable = await self.stage(spec)
        try:
            return self.serve(servable)
        except AlreadyHeld:
            await self.discard(servable)
            raise

    def servable(self, variant_id: str) -> LoadedModel:
        """What serves a ready variant. Raises NoEndpoint."""
        if self._states.get(variant_id) is VariantState.READY:
            return self._served[variant_id]
        raise NoEndpoint(f"this worker does not serve '{variant_id}'")

    def _begin_unloading(self, variant_id: str) -> LoadedModel:
        if self._states.get(variant_id) is not VariantState.READY:
            raise UnknownCheckpoint(f"this worker does not hold '{variant_id}'", field="variant")
        self._set(variant_id, VariantState.UNLOADING)
        return self._served[variant_id]

    async def _end_unloading(
        self, variant_id: str, servable: LoadedModel, *, then: Callable[[LoadedModel], Awaitable[None]]
    ) -> None:
        try:
            if isinstance(servable, GenerationRunner):
                await servable.finished.wait()
            await then(servable)
        finally:
            del self._served[variant_id]
            self._set(variant_id, None)

    async def _keep(self, _: LoadedModel) -> None:
        # Batches of this variant that were taken stand before this on the device's thread.
        await self._on_device(lambda: None)

    async def _on_device(self, work: Callable[[], None]) -> None:
        await asyncio.get_running_loop().run_in_executor(self._device_thread, work)

    async def _to_the_end(self, change: Coroutine[Any, Any, Result]) -> Result:
        # A caller who goes away must not leave a variant half loaded, or unloading for ever.
        task = asyncio.ensure_future(change)
        self._changes.add(task)
        task.add_done_callback(self._changes.discard)
        return await asyncio.shield(task)

    def _load_and_warm(self, spec: ModelSpec, examine: Examine | None, loop: asyncio.AbstractEventLoop) -> LoadedModel:
        try:
            loaded = self._loader(spec)
        except MemoryError as error:
            raise Saturated(f"{spec.checkpoint.name} does not fit into memory", field="checkpoint") from error
        except SluiceError:
            raise
        except Exception as error:
            raise InvalidRequest(f"{spec.checkpoint.name} cannot be loaded: {error}", field="checkpoint") from error
        servable: LoadedModel = (
            GenerationRunner(loaded, loop, broke=self._take_out) if isinstance(loaded, GenerationEngine) else loaded
        )
        try:
            servable.warm_up()
            check(servable.variant)
            if examine is not None:
                examine(servable)
        except SluiceError as error:
            release(servable)
            if not isinstance(error, WorkerFailed):
                raise
            raise InvalidRequest(f"{spec.checkpoint.name} cannot serve: {error}", field="checkpoint") from error
        except Exception as error:
            release(servable)
            raise InvalidRequest(f"{spec.checkpoint.name} cannot serve: {error}", field="checkpoint") from error
        return servable

    def _take_out(self, writer: GenerationRunner) -> None:
        """A model writes no more. If it was its device that has ended, others see to that."""
        if not self.serves(writer) or writer.is_device_lost():
            return
        name = writer.variant.id
        logger.critical("A model was taken out of service.", extra={"variant": name, "why": writer.trouble})
        task = asyncio.ensure_future(self.unload(name))
        self._changes.add(task)
        task.add_done_callback(self._changes.discard)

    def _set(self, variant_id: str, state: VariantState | None) -> None:
        if state is None:
            del self._states[variant_id]
        else:
            self._states[variant_id] = state
        logger.info("variant", extra={"variant": variant_id, "state": state.name.lower() if state else "gone"})
        for watcher in tuple(self._watchers):
            watcher()
