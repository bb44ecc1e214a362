"""Where the writing thread's time goes: each moment counts for one phase of its loop, by what the step works on."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable
from functools import wraps
from typing import Any

from sluice.engine.generation.engine import GenerationEngine

PROMPTS, TOKENS = "prompts", "tokens"
IDLE = "idle"
PHASES = ("prepare", "launch", "wait", "update", "tell", IDLE)
_SUMS = ("steps", "texts", *(f"{phase}_ms" for phase in PHASES))


class StepClock:
    """Watches a generator's loop that is warm and not started.

    Phases: `prepare` chooses a step's texts and fills its inputs; `launch` hands it to the device; `wait` is for the
    device to be done with the step before; `update` notes what that has written; `tell` makes text of it. The rest of
    the loop is `idle`. A step's phases are those of one turn of the loop, in which it is prepared and launched.
    """

    def __init__(self, generator: GenerationEngine) -> None:
        # What is watched is no business of those who use a generator.
        writer: Any = generator._writer  # noqa: SLF001
        self._processor: Any = writer.batch_processor
        self._phase, self._since = IDLE, time.perf_counter()
        self._turn: defaultdict[str, float] = defaultdict(float)
        self.clear()
        for owner, name, phase in (
            (self._processor, "prepare_next_batch", "prepare"),
            (self._processor, "_generation_step", "launch"),
            (self._processor, "update_batch", "update"),
            (self._processor.inputs_and_outputs, "prepare_batch_update", "wait"),
            (self._processor.output_router, "deliver_batch", "tell"),
        ):
            setattr(owner, name, self._in_phase(phase, getattr(owner, name)))
        writer._generation_loop_body = self._turned(writer._generation_loop_body)  # noqa: SLF001

    def clear(self) -> None:
        """Forget all turns until now."""
        self._kinds: dict[str, dict[str, float]] = {}

    def content(self) -> dict[str, dict[str, float]]:
        """By kind of step: how many, of how many texts in the mean, and the mean milliseconds of each phase."""
        return {
            kind: {"steps": sums["steps"]}
            | {name: round(total / sums["steps"], 2) for name, total in sums.items() if name != "steps"}
            for kind, sums in tuple(self._kinds.items())
        }

    def _in_phase(self, phase: str, call: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(call)
        def within(*args: Any, **kwargs: Any) -> Any:
            outer = self._enter(phase)
            try:
                return call(*args, **kwargs)
            finally:
                self._enter(outer)

        return within

    def _turned(self, body: Callable[..., bool]) -> Callable[..., bool]:
        @wraps(body)
        def turn(*args: Any, **kwargs: Any) -> bool:
            self._enter(IDLE)
            self._turn.clear()
            go_on = body(*args, **kwargs)
            self._enter(IDLE)
            if self._turn["launch"]:
                self._note(self._launched())
            return go_on

        return turn

    def _note(self, batch: Any) -> None:
        sums = self._kinds.setdefault(TOKENS if batch.use_block_table else PROMPTS, dict.fromkeys(_SUMS, 0.0))
        sums["steps"] += 1
        sums["texts"] += batch.num_request_in_batch
        for phase in PHASES:
            sums[f"{phase}_ms"] += 1000 * self._turn[phase]

    def _launched(self) -> Any:
        """The inputs of the step that was launched last."""
        io = self._processor.inputs_and_outputs
        # Pairs change places when a step is launched.
        return io.io_pairs[1 - io.current_pair].host_io if hasattr(io, "io_pairs") else io

    def _enter(self, phase: str) -> str:
        """Count the time until now for the phase that ends, which is returned."""
        now, outer = time.perf_counter(), self._phase
        self._turn[outer] += now - self._since
        self._phase, self._since = phase, now
        return outer
