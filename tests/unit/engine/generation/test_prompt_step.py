"""Compiled steps of prompts write what others write, and are compiled once whatever is asked."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch._dynamo.utils import counters

from sluice.engine.generation.prefill_graphs import PrefillCudaGraphs
from tests.unit.engine.generation.loops import KINDS, PAGE, Loop, ended_well, generated, model_of, prompt

pytestmark = pytest.mark.torch
LENGTHS = (1, 2, PAGE, PAGE + 1, 3 * PAGE - 1, 70, 90)
TOKENS = 8


@pytest.fixture(autouse=True)
def compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that needs no compiler of C: what it compiles and when is the same."""
    torch.compiler.reset()
    counters.clear()
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="aot_eager"))


@pytest.mark.parametrize("kind", KINDS)
def test_texts_are_those_of_generate(kind: str) -> None:
    loop = Loop(model_of(kind), compiles=True)
    for length in LENGTHS:
        loop.add(f"{length}", prompt(length), TOKENS)
        loop.step()
    loop.run()
    for length in LENGTHS:
        assert ended_well(loop.heard[f"{length}"])
        assert loop.tokens(f"{length}") == generated(kind, prompt(length), TOKENS)
    loop.assert_nothing_is_held()


@pytest.mark.parametrize("kind", KINDS)
def test_one_graph_serves_prompts_of_all_lengths_alone_and_together(kind: str) -> None:
    loop = Loop(model_of(kind), compiles=True)
    for round_, lengths in enumerate([(5,), (2,), (40,), (7, 9), (30, 1, 20), (64,), (3, 3, 3, 3)]):
        for place, length in enumerate(lengths):
            loop.add(f"{round_}/{place}", prompt(length, round_), 1)
        loop.run()
    assert len(loop.heard) == 13
    # Latents are expanded between what is written and what attends, so such a model is not compiled for prompts.
    assert counters["stats"]["unique_graphs"] == (0 if kind == "deepseek_v3" else 1)


def test_what_was_read_before_is_found_by_compiled_prompts_too() -> None:
    loop = Loop(model_of("qwen2"), compiles=True, page=PAGE)
    shared = prompt(2 * PAGE)
    for name, more in (("first", 5), ("second", 9)):
        loop.add(name, shared + prompt(more, 7), TOKENS)
        loop.run()
        assert loop.tokens(name) == generated("qwen2", shared + prompt(more, 7), TOKENS)
    # Both pages of the second were there.
    prefills = [sum(tokens for _, tokens in batch) for batch in loop.batches if len(batch) == 1 and batch[0][1] > 1]
    assert prefills == [2 * PAGE + 5, 9]


def test_graphs_of_all_sizes_are_made_of_what_was_compiled_first() -> None:
    loop = Loop(model_of("qwen2"), compiles=True, batch_tokens=200)
    runner = loop.processor.model_runner
    graphs = PrefillCudaGraphs(
        most_tokens=200,
        waste=loop.allocator.write_trash_index,
        blank_slot=loop.allocator.read_trash_index,
        device=torch.device("cpu"),
        capture=_run_again,
    )
    with torch.no_grad():
        # As an accelerator warms up: the first prompt has something behind it.
        runner.run_one_warmup(model=loop.writer.model, num_q_tokens=200, max_kv_read=PAGE)
        runner._prompts._graphs = graphs
        runner._prompts.warm_up()
    assert len(graphs.sizes) == 4
    assert counters["stats"]["unique_graphs"] == 1


def _run_again(step: Callable[[], None]) -> Callable[[], None]:
    step()
    return step
