"""The seam between a worker and a model that writes text: prompts go in, pieces of text come out as they are written.

A generator batches by itself, continuously: texts begin and end between two steps of the device. Like a backend it
knows nothing of gRPC, credits or deadlines.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple, Protocol, runtime_checkable

from sluice.domain.errors import SluiceError
from sluice.domain.variant import Variant


class FinishReason(IntEnum):
    """Why a text ends; the numbers are those of the contract's FinishReason."""

    STOP = 1
    LENGTH = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerationLimits:
    """What a generator of our own may take: `max_texts` at a time (0: as many as it likes), and a share of memory.

    `memory_share`, in [0, 1], is taken of what is free when its weights are loaded, for what texts are remembered by.
    `compiles`: its first start may take minutes longer, so that it is faster then.
    """

    max_texts: int = 0
    memory_share: float = 0.8
    compiles: bool = True


DEFAULT_ROOM = GenerationLimits()


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerationRequest:
    """What to write on from, and how; every field as in the contract's Generation."""

    text: str
    max_new_tokens: int
    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    seed: int | None = None
    stop: tuple[str, ...] = ()


class Chunk(NamedTuple):
    """New text of one writing. `tokens` counts what was written so far; the last piece has a `finish` or an `error`.

    A tuple, as thousands are made in a step, and a frozen dataclass takes twice as long.
    """

    key: int
    text: str = ""
    tokens: int = 0
    prompt_tokens: int = 0
    finish: FinishReason | None = None
    error: SluiceError | None = None

    @property
    def is_last(self) -> bool:
        """Whether nothing comes after it."""
        return self.finish is not None or self.error is not None


OnChunks = Callable[[Sequence[Chunk]], None]


@runtime_checkable
class GenerationEngine(Protocol):
    """A loaded variant that writes text.

    `begin` and `cancel` return at once and may be called from any thread, in any order and for any key; everything else
    blocks and is called from one thread at a time, never the event loop.
    """

    @property
    def variant(self) -> Variant:
        """What this generator is; its task is text generation."""

    @property
    def busy_s(self) -> float:
        """Seconds in which its device was computing, since the start, each weighed by the share of its places or of its
        memory that was taken: a device that writes one text of hundreds has room for more. May be read from any thread.
        """

    def warm_up(self) -> None:
        """Run what the first prompts would otherwise pay for. Raises if the variant cannot serve."""

    def start(self, hear: OnChunks) -> None:
        """Write from now on. `hear` is called with what a step of the device wrote, on a thread of the generator's own;
        it must return soon and never raises. Called once, after `warm_up`."""

    def begin(self, key: int, prompt: GenerationRequest) -> None:
        """Write on from `prompt`. `hear` gets any number of pieces with `key`, the first one when the text has got its
        memory, and exactly one last piece, whatever happens. `key` may be used again after that."""

    def cancel(self, key: int) -> None:
        """End the writing of `key` and free its memory before the next step; its last piece has a Cancelled error.
        Nothing happens if it has ended."""

    def close(self) -> None:
        """End what is being written, with NoEndpoint errors, and free everything. Called once."""


@runtime_checkable
class Tried(Protocol):
    """A generator that may be unable to write though it was loaded, so that it is tried before it serves."""

    trial: GenerationRequest
    """A short prompt that any model of its kind goes on from."""


@runtime_checkable
class Breakable(Protocol):
    """A generator that may come to write no more, whatever it is given, while its device is well.

    It calls `hear` with nothing when that happens.
    """

    @property
    def trouble(self) -> str:
        """Why it writes no more; empty while it does."""
