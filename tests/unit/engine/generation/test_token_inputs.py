"""A step's inputs, written for all texts at once, are those that transformers writes text by text."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers.generation.continuous_batching.input_outputs import ContinuousBatchingAsyncIOs, ContinuousBatchingIOs

from sluice.engine.generation.decode_inputs import AsyncDecodeInputs, DecodeInputs
from tests.unit.engine.generation.ahead import prepare_ahead
from tests.unit.engine.generation.loops import PAGE, Loop, model_of, prompt

pytestmark = pytest.mark.torch
LENGTHS = (1, PAGE - 1, PAGE, PAGE + 1, 3 * PAGE - 1, 40)
TENSORS = ("_bulk_input_tensor", "block_table", "output_ids")
NUMBERS = (
    "num_q_tokens",
    "max_kv_read",
    "num_request_in_batch",
    "true_read_sizes",
    "true_write_sizes",
    "use_block_table",
    "total_seqlen_q",
    "total_seqlen_k",
    "max_length_q",
    "max_length_k",
    "req_id_to_new_token_position",
)


class Step:
    """The next step of a loop in which every text has a token, prepared as often as one likes."""

    def __init__(self, **sampling: Any) -> None:
        self.loop = Loop(model_of("qwen2"), texts=12)
        for place, length in enumerate(LENGTHS):
            self.loop.add(f"{length}", prompt(length), 30, **({"seed": place, **sampling} if sampling else {}))
        self.loop.run(*(f"{length}" for length in LENGTHS))
        self.inputs = self.loop.processor.inputs_and_outputs
        self.batch, self.by_pages, self.tokens, _ = self.loop.scheduler.schedule_batch(64, 1_000)
        self._before = [(one.state.position_offset, one.state.tokens_to_process) for one in self.batch]
        self._samplings = [one.state.logit_processor_kwargs["sampling"] for one in self.batch]
        self._places = [one.place for one in self._samplings]

    def prepared(self, prepare: Any, *, padded: int) -> dict[str, Any]:
        """What `prepare` makes of the step."""
        for one, before in zip(self.batch, self._before, strict=True):
            one.state.position_offset, one.state.tokens_to_process = before
        for sampling, place in zip(self._samplings, self._places, strict=True):
            sampling.go_back_to(place)
        # What an earlier, larger step has left behind.
        self.inputs._bulk_input_tensor.fill_(7)
        self.inputs.block_table.fill_(7)
        prepare(self.batch, self.loop.writer.logit_processor, self.by_pages, padded, 0, padded > self.tokens)
        tensors = {name: getattr(self.inputs, name).clone() for name in TENSORS}
        states = [(one.state.position_offset, list(one.state.tokens_to_process)) for one in self.batch]
        return tensors | {name: getattr(self.inputs, name) for name in NUMBERS} | {"states": states}


def assert_same(one: dict[str, Any], other: dict[str, Any]) -> None:
    for name, value in one.items():
        assert torch.equal(value, other[name]) if name in TENSORS else value == other[name], name


@pytest.mark.parametrize("padded", [len(LENGTHS), 8, 12])
@pytest.mark.parametrize("sampling", [{}, {"temperature": 0.7, "top_p": 0.9}], ids=["greedy", "drawn"])
def test_they_are_the_same_number_by_number(padded: int, sampling: dict[str, Any]) -> None:
    step = Step(**sampling)
    assert step.by_pages
    theirs = step.prepared(ContinuousBatchingIOs.prepare_batch_tensors.__get__(step.inputs), padded=padded)
    ours = step.prepared(step.inputs.prepare_batch_tensors, padded=padded)
    assert type(step.inputs) is DecodeInputs
    assert_same(theirs, ours)


def test_a_prompt_cut_into_pieces_of_one_token_is_left_to_transformers() -> None:
    step = Step()
    step.batch[0].has_new_token = False
    theirs = step.prepared(ContinuousBatchingIOs.prepare_batch_tensors.__get__(step.inputs), padded=len(LENGTHS))
    ours = step.prepared(step.inputs.prepare_batch_tensors, padded=len(LENGTHS))
    assert f"{LENGTHS[0]}" not in ours["req_id_to_new_token_position"]
    assert_same(theirs, ours)


def test_tokens_of_the_step_before_are_carried_over_as_transformers_does(monkeypatch: pytest.MonkeyPatch) -> None:
    prepare_ahead(monkeypatch)
    loop = Loop(model_of("qwen2"), texts=5)
    ahead = loop.processor.inputs_and_outputs
    carried = []

    def compared() -> Any:
        ours = AsyncDecodeInputs.infer_carry_over_ids(ahead)
        assert torch.equal(ours, ContinuousBatchingAsyncIOs.infer_carry_over_ids(ahead))
        assert ours.dtype == torch.int32
        carried.append(int((ours >= 0).sum()))
        return ours

    monkeypatch.setattr(ahead, "infer_carry_over_ids", compared)
    for place, length in enumerate(LENGTHS):
        loop.add(f"{length}", prompt(length), 3 + 2 * place)
        loop.step()
    loop.run()
    # Prompts carry nothing, tokens what they wrote last.
    assert set(carried) == {0, 1, 2, 3, 4, 5}
