"""How many bytes are taken at most, and no more than allowed: on an accelerator and, for smokes, on a CPU."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Protocol

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only
from torch.utils.weak import WeakIdKeyDictionary


class Meter(Protocol):
    """Bytes of tensors on one device."""

    def watching(self) -> AbstractContextManager[object]:
        """The context in which all that is counted is made."""

    def allocated(self) -> int:
        """Bytes in tensors now."""

    def peak(self, run: Callable[[], object]) -> tuple[int, int]:
        """The most bytes in tensors while `run` ran, and held of the device for them; its result is dropped."""

    def limited(self, limit_bytes: int) -> AbstractContextManager[None]:
        """Within, more than so many bytes of the device raise torch.OutOfMemoryError."""


def meter_of(device: torch.device) -> Meter:
    """The meter for a device."""
    return HostMeter() if device.type == "cpu" else DeviceMeter(device)


def limit(device: torch.device, limit_bytes: int) -> None:
    """From now on more than so many bytes of an accelerator raise torch.OutOfMemoryError."""
    module = torch.get_device_module(device)
    # One byte more: the share is multiplied back and rounded down.
    module.set_per_process_memory_fraction((limit_bytes + 1) / module.mem_get_info(device)[1], device)


class DeviceMeter:
    """Asks torch's allocator for the device."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        # Libraries keep a workspace from their first product on, which is no part of what is measured.
        for dtype in (torch.float32, torch.bfloat16):
            torch.nn.Linear(64, 64, device=device, dtype=dtype)(torch.ones(64, 64, device=device, dtype=dtype))

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Segments grow as they have to meanwhile: what is held is what tensors need, not what lies between them."""
        # There is no public way to choose so while a program runs.
        choose = getattr(torch._C, "_accelerator_setAllocatorSettings", None)  # noqa: SLF001
        if choose is None or self._device.type != "cuda":
            yield
            return
        choose("expandable_segments:True")
        try:
            yield
        finally:
            choose("expandable_segments:False")

    def allocated(self) -> int:
        """As Meter has it."""
        gc.collect()
        return int(torch.accelerator.memory_allocated(self._device))

    def peak(self, run: Callable[[], object]) -> tuple[int, int]:
        """As Meter has it."""
        gc.collect()
        torch.accelerator.empty_cache()
        torch.accelerator.reset_peak_memory_stats(self._device)
        run()
        torch.accelerator.synchronize(self._device)
        most = torch.accelerator.max_memory_allocated(self._device)
        return int(most), int(torch.accelerator.max_memory_reserved(self._device))

    @contextmanager
    def limited(self, limit_bytes: int) -> Iterator[None]:
        """As Meter has it."""
        gc.collect()
        torch.accelerator.empty_cache()
        limit(self._device, limit_bytes)
        try:
            yield
        finally:
            torch.get_device_module(self._device).set_per_process_memory_fraction(1.0, self._device)


class HostMeter(TorchDispatchMode):
    """Counts the storages that operations give back while it watches: what they take within themselves is not seen."""

    def __init__(self) -> None:
        super().__init__()
        self._known: Any = WeakIdKeyDictionary()
        self._now = self._most = 0
        self._limit: float = float("inf")

    def watching(self) -> AbstractContextManager[object]:
        """The mode itself."""
        return self

    def allocated(self) -> int:
        """As Meter has it."""
        gc.collect()
        return self._now

    def peak(self, run: Callable[[], object]) -> tuple[int, int]:
        """As Meter has it."""
        gc.collect()
        self._most = self._now
        run()
        return self._most, self._most

    @contextmanager
    def limited(self, limit_bytes: int) -> Iterator[None]:
        """As Meter has it."""
        gc.collect()
        self._limit = limit_bytes
        try:
            yield
        finally:
            self._limit = float("inf")

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Does what was asked for, and counts what came of it."""
        result = func(*args, **(kwargs or {}))
        tree_map_only(torch.Tensor, self._count, result)
        return result

    def _count(self, tensor: torch.Tensor) -> None:
        storage = tensor.untyped_storage()
        if storage in self._known:
            return
        size = storage.nbytes()
        if self._now + size > self._limit:
            raise torch.OutOfMemoryError(f"{self._now} and {size} bytes are more than {self._limit}")
        self._known[storage] = size
        weakref.finalize(storage, self._free, size)
        self._now += size
        self._most = max(self._most, self._now)

    def _free(self, size: int) -> None:
        self._now -= size
