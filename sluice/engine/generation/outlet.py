"""Where the writing loop puts what it wrote: in the place of transformers' router of outputs, one listener for all."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

from transformers.generation.continuous_batching.requests import GenerationOutput, RequestState, RequestStatus

from sluice.engine.generation.text_state import TextState
from sluice.engine.out_of_memory import is_out_of_memory

NO_ROOM = "no room: "
"""Begins what is told of a text that the device had no memory for."""
GIVEN_BACK = "given back: "
"""Begins what is told of a text whose model is broken, through no fault of its own."""

Told: TypeAlias = GenerationOutput | TextState
Hear = Callable[[Sequence[Told]], None]


class ModelBroken(Exception):
    """The model writes nothing any more, whatever it is given. The device may be well, and other models on it."""


class Outlet:
    """Hands on a step at a time. transformers has it deliver from the writing thread alone."""

    def __init__(self, hear: Hear) -> None:
        self._hear = hear

    def deliver(self, output: Told) -> None:
        """One text has ended."""
        self._hear([output])

    def deliver_batch(self, outputs: Sequence[Told]) -> None:
        """What a step has written."""
        self._hear(outputs)

    def fail_and_deliver(self, state: RequestState, error: Exception) -> None:
        """A text has failed."""
        state.status = RequestStatus.FAILED
        prefix = NO_ROOM if is_out_of_memory(error) else GIVEN_BACK if isinstance(error, ModelBroken) else ""
        state.error = f"{prefix}{type(error).__name__}: {error}"
        self.deliver(state.to_generation_output())
