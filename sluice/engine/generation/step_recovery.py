"""After a step of the device that failed: what was in it is read again, and only the sequence at fault ends.

Where memory did not suffice, steps are halved until one succeeds. Any other exception belongs to a sequence, which
`CulpritSearch` finds. When sequences fail one after the other, one that is known to be good is tried: where that fails
too, the model itself is broken, and its loop ends. So it does when the device says that it is lost, and a trial agrees.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import torch
from transformers.generation.continuous_batching.continuous_api import ContinuousBatchProcessor
from transformers.generation.continuous_batching.requests import RequestState, RequestStatus

from sluice.engine.accelerator import is_lost
from sluice.engine.checkpoint.errors import is_out_of_memory, one_line
from sluice.engine.generation.sequence import ModelBroken, SequenceState

logger = logging.getLogger(__name__)


# Which sequence makes a step fail: found by halving, while everybody else goes on. Pure: it knows names and counts.
#
# Sequences of a step that failed are tried again in halves, each half until every one of it has got past the place
# where the step failed. A half that fails is halved, and one that fails alone is the culprit. Nobody is accused of a
# failure that does not repeat.


# A failed sequence is read again, which is one step, and then decodes one token: both kinds of step are tried.
_STEPS = 2


class CulpritSearch:
    """Groups of sequences that share the next steps. `convicted` counts culprits since a group last got through.

    `fruitless` counts searches that ended with nobody convicted since one was.
    """

    def __init__(self) -> None:
        self.convicted = 0
        self.fruitless = 0
        self._groups: deque[dict[str, int]] = deque()
        self._has_convicted = False

    @property
    def group(self) -> Collection[str] | None:
        """The sequences that are tried now; None while nothing is searched for, and all are welcome."""
        return self._groups[0].keys() if self._groups else None

    def failed(self, written: Mapping[str, int]) -> str | None:
        """A step of these sequences has failed; each has `written` so many tokens. Returns the culprit if it is found.

        Whoever is not in the step, but in its group, is tried after it.
        """
        if not written:
            # Nothing was computed for anybody.
            self.fruitless += 1
            return None
        was_tried = bool(self._groups)
        rest = self._groups.popleft() if self._groups else {}
        if not was_tried:
            self._has_convicted = False
        if was_tried and len(written) == 1 and rest.keys() == written.keys():
            (culprit,) = written
            self.convicted += 1
            self.fruitless = 0
            self._has_convicted = True
            return culprit
        names = list(written)
        # Alone in a step, but not in its group, it is tried alone first; and so is one that failed for the first time.
        middle = max(1, len(names) // 2)
        others = {name: count for name, count in rest.items() if name not in written}
        halves = [{name: written[name] + _STEPS for name in part} for part in (names[:middle], names[middle:])]
        self._groups.extendleft(group for group in reversed([*halves, others]) if group)
        return None

    def try_first(self, name: str) -> None:
        """Try a new sequence alone before everybody else."""
        self._groups.appendleft({name: _STEPS})

    def succeeded(self, written: Callable[[str], int | None]) -> None:
        """A step has succeeded. `written` says how many tokens a sequence has now, None when it has ended."""
        while self._groups:
            counts = {name: written(name) for name in self._groups[0]}
            if any(count is not None and count < self._groups[0][name] for name, count in counts.items()):
                return
            self.convicted = 0
            self._next_group()

    def skip(self) -> None:
        """There was nothing to do for the group that is tried."""
        if self._groups:
            self._next_group()

    def stop(self) -> None:
        """Search no more."""
        self._groups.clear()

    def _next_group(self) -> None:
        self._groups.popleft()
        if not self._groups and not self._has_convicted:
            self.fruitless += 1


# The request id of the sequence that is known to be good; all others are numbers.
TRIAL = "trial"
_TRIAL_TOKENS = 2
# So many culprits in a row, with no step that succeeded between them, make the model itself suspect.
_SUSPICIOUS = 3
# So many failures that nobody can be found for end the model, if each comes within so many steps of the one before.
_MOST_FRUITLESS = 8
_FORGET_STEPS = 1_000
# A group that cannot be scheduled in so many turns of the loop is passed over.
_MOST_IDLE_TURNS = 3


class StepRecovery:
    """Of one loop, on its thread. `trial` are tokens that any working model goes on from.

    `is_searching` says that `look` wants to be told of steps that succeed; `is_device_lost` why the loop has ended.
    """

    def __init__(self, device: torch.device, *, trial: Sequence[int]) -> None:
        self.is_searching = False
        self.is_device_lost = False
        self._device = device
        self._trial = list(trial)
        self._search = CulpritSearch()
        self._failed_at = 0
        self._idle_turns = 0

    def reset(self) -> None:
        """A loop begins anew."""
        self.is_searching = False
        self._search = CulpritSearch()

    def recover(self, processor: ContinuousBatchProcessor, error: Exception, *, pair: int, step: int) -> None:
        """A turn of the loop has failed at `step`, with the inputs of `pair` if there are two of them.

        Raises `error` when the device is lost, and ModelBroken when the model is.
        """
        if is_lost(error, self._device):
            self.is_device_lost = True
            raise error
        states = _take_back(processor, pair)
        if is_out_of_memory(error):
            self._make_smaller(processor, states, error)
        else:
            self._accuse(processor, states, error, step)
        processor.scheduler.mend_order()

    def look(self, processor: ContinuousBatchProcessor, *, has_stepped: bool) -> None:
        """A turn of the loop has gone well while a culprit is searched for."""
        self._idle_turns = 0 if has_stepped else self._idle_turns + 1
        self._search.succeeded(processor.scheduler.written_by)
        if self._idle_turns >= _MOST_IDLE_TURNS:
            self._idle_turns = 0
            self._search.skip()
        self._restrict(processor)

    def _make_smaller(
        self, processor: ContinuousBatchProcessor, states: Sequence[RequestState], error: Exception
    ) -> None:
        """A step had no room. It is tried again in halves, until one has no room that is of one text: it is refused."""
        scheduler = processor.scheduler
        if self._device.type != "cpu":
            torch.accelerator.empty_cache()
        open_ = list(states)
        tokens = sum(len(state.initial_tokens) for state in open_)
        logger.warning("a step had no room", extra={"texts": len(open_), "again": not scheduler.is_careful})
        if scheduler.is_careful and len(open_) == 1:
            largest = open_.pop()
            processor.output_router.fail_and_deliver(largest, error)
            scheduler.finish_request(largest.request_id)
        for state in reversed(open_):
            scheduler.put_back(state)
        scheduler.shrink_batches(tokens=max(2, tokens), texts=max(2, len(open_)))

    def _accuse(
        self, processor: ContinuousBatchProcessor, states: Sequence[RequestState], error: Exception, step: int
    ) -> None:
        scheduler, search = processor.scheduler, self._search
        why = f"{type(error).__name__}: {one_line(error)}"
        if search.group is None:
            logger.warning(
                "A step failed, and its sequences are tried again in halves.",
                extra={"sequences": len(states), "why": why},
                exc_info=error,
            )
        if step - self._failed_at > _FORGET_STEPS:
            search.fruitless = 0
        self._failed_at = step
        written = {state.request_id: len(state.to_generation_output().generated_tokens) for state in states}
        culprit = search.failed(written)
        if culprit == TRIAL:
            raise ModelBroken(f"sequences fail one after the other, and a known good one does too: {why}") from error
        for state in reversed(states):
            if state.request_id == culprit:
                logger.error("A sequence was ended because its steps fail.", extra={"sequence": culprit, "why": why})
                processor.output_router.fail_and_deliver(state, error)
                scheduler.finish_request(state.request_id)
            else:
                scheduler.put_back(state)
        if search.fruitless >= _MOST_FRUITLESS:
            raise ModelBroken(f"steps go on failing, and no sequence does alone: {why}") from error
        if search.convicted >= _SUSPICIOUS and scheduler.written_by(TRIAL) is None:
            state = SequenceState(request_id=TRIAL, initial_tokens=self._trial[:], max_new_tokens=_TRIAL_TOKENS)
            scheduler.add_waiting_request(state)
            search.try_first(TRIAL)
        self._restrict(processor)

    def _restrict(self, processor: ContinuousBatchProcessor) -> None:
        group = self._search.group
        self.is_searching = group is not None
        processor.scheduler.only = group


def _take_back(processor: ContinuousBatchProcessor, pair: int) -> list[RequestState]:
    """The sequences whose step was not computed, or not understood. What was prepared of it is forgotten."""
    io, scheduler = processor.inputs_and_outputs, processor.scheduler
    if scheduler.planned is None:
        # Planning itself failed, in the middle of whatever it does with whomever.
        states = list(scheduler.active_requests.values())
    else:
        states = [future.state for future in scheduler.planned]
    scheduler.planned = []
    if processor.use_async_batching:
        states += _settle_step_before(processor, pair)
    else:
        _forget(io)
    open_ = {state.request_id: state for state in states if state.status < RequestStatus.FINISHED}
    return [state for name, state in open_.items() if scheduler.active_requests.get(name) is state]


def _settle_step_before(processor: ContinuousBatchProcessor, pair: int) -> list[RequestState]:
    """The step before the one that failed, if there was one, has been computed all the same: see what it came to.

    Returns the sequences of that step if nobody can tell.
    """
    io = processor.inputs_and_outputs
    _forget(io.io_pairs[pair].host_io)
    before = io.io_pairs[1 - pair].host_io
    # With the inputs swapped, it is its results at which this turn failed.
    is_understood = io.current_pair == pair
    io.current_pair = 1 - pair
    if is_understood:
        try:
            processor.update_batch()
        except Exception:
            logger.exception("The results of the step before a failed one could not be used.")
            is_understood = False
    states = [] if is_understood else [future.state for future in before.requests_in_batch]
    _forget(before)
    return states


def _forget(inputs: Any) -> None:
    """No tokens are carried over from what was prepared here."""
    inputs.requests_in_batch, inputs.req_id_to_new_token_position = [], {}
