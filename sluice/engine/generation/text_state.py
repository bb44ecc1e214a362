"""A text in transformers' loop, told of as it stands."""

from __future__ import annotations

from dataclasses import dataclass

from transformers.generation.continuous_batching.requests import GenerationOutput, RequestState, RequestStatus


@dataclass
class TextState(RequestState):
    """In the place of transformers' own, which copies all of a text's tokens in each step to tell of the last one.

    Who is told reads it at once, on the writing thread.
    """

    def to_generation_output(self) -> GenerationOutput | TextState:
        """Itself, or a copy where it does not begin with its prompt: it lost a step, and is read again."""
        return super().to_generation_output() if self._true_initial_tokens else self

    def is_finished(self) -> bool:
        """Whether nothing will be added to it."""
        return self._status >= RequestStatus.FINISHED
