"""The seam between a worker and a model that answers in batches: what a backend is given and what it returns.

A backend knows nothing of gRPC, credits or deadlines; a worker knows nothing of tensors.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Protocol, runtime_checkable

from sluice.domain.enums import Tier
from sluice.domain.errors import SluiceError
from sluice.domain.variant import Variant
from sluice.worker.execution.generator import DEFAULT_ROOM, GenerationEngine, GenerationLimits
from sluice.worker.execution.openai_config import OpenAIServer


@dataclass(frozen=True, slots=True)
class Item:
    """One text of a batch. `top_k` labels are wanted beside the best; `truncate` permits cutting the text."""

    text: str
    top_k: int = 0
    truncate: bool = False


@dataclass(frozen=True, slots=True)
class Classification:
    """The best label with its probability, and the `top_k` best, best first."""

    label: str
    score: float
    scores: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True, slots=True)
class Embedding:
    """One vector, in the model's order."""

    values: tuple[float, ...]


Output = Classification | Embedding | SluiceError


class Backend(Protocol):
    """A loaded variant. All methods block and are called from one thread at a time, never the event loop."""

    @property
    def variant(self) -> Variant:
        """What this backend is."""

    def warm_up(self) -> None:
        """Run what the first requests would otherwise pay for. Raises if the variant cannot serve."""

    def execute(self, items: Sequence[Item]) -> list[Output]:
        """One output per item, in order.

        An item that fails by itself (too long, say) is answered with its error in the list and costs the others
        nothing. Raises only when the whole batch failed: MemoryError when the device has no room for it, and is as it
        was before.
        """

    def close(self) -> None:
        """Free the variant's memory. Called once, after the last batch."""


@runtime_checkable
class SupportsPrefetch(Protocol):
    """What a backend may do besides: the part of a batch's work that needs no device, ahead of the rest."""

    def prepare(self, items: Sequence[Item]) -> Sequence[Item]:
        """The same items in the same order, each with what `execute` would else have to find out.

        Called from another thread, also while `execute` runs. It need not be called, and `execute` may be given any
        part of what it returned. An item that fails by itself is returned all the same: `execute` answers for it.
        """


@runtime_checkable
class DetectsDeviceLoss(Protocol):
    """A backend whose device may be lost while the process lives: fallen off the bus, or its context broken."""

    def is_device_lost(self) -> bool:
        """Try the device; asked after a batch that failed, on the same thread."""


@runtime_checkable
class ReportsMemory(Protocol):
    """What a backend may say besides: `held_bytes`, the memory that its weights take on the device."""

    held_bytes: int


class CpuRuntime(StrEnum):
    """Who computes quantized models on a CPU."""

    AUTO = "auto"
    OPENVINO = "openvino"
    ONNX_RUNTIME = "onnxruntime"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSpec:
    """What a worker is asked to serve.

    `checkpoint` is an existing Hugging Face checkpoint directory, or a file of tools/quantize.py; an empty `precision`
    leaves the choice to the backend; `threads` bounds the cores of one forward pass (0: all that the process may use);
    `engine` is who computes int8 and int4 on a CPU. With an `openai` server there is no checkpoint, and its name stands
    for it. `generation` holds for a model that writes.
    """

    model: str
    tier: Tier
    checkpoint: Path
    precision: str = ""
    max_batch_size: int = 128
    threads: int = 0
    engine: CpuRuntime = CpuRuntime.AUTO
    openai: OpenAIServer | None = None
    generation: GenerationLimits = DEFAULT_ROOM


class BackendLoader(Protocol):
    """How a kind of worker turns a checkpoint into a backend, or into a generator. Blocking; called from a thread."""

    def __call__(self, spec: ModelSpec) -> Backend | GenerationEngine:
        """Load, or raise `InvalidRequest` naming the file or field at fault."""
