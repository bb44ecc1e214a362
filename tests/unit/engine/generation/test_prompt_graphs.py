"""Prompts that are filled up to a size and replayed are written as others; what replays is a plain call here."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch

from sluice.engine.generation import prefill_graphs as prompt_graphs
from sluice.engine.generation.kv_cache import ACCELERATOR_PAGE
from sluice.engine.generation.model_runner import PagedModelRunner
from sluice.engine.generation.prefill_graphs import GraphBucket, PrefillCudaGraphs, sizes_up_to
from tests.unit.engine.generation.loops import PAGE, Loop, ended_well, generated, model_of, prompt

pytestmark = pytest.mark.torch
KINDS = ("qwen2", "llama")
TOKENS = 6
BATCH = 300
# Lengths of prompts that come together, and fit into one step.
ROUNDS = ((2,), (128,), (129, 3), (300,), (5, 60, 30, 80))


class Tape:
    """Captures by running, and counts; for sizes of `lacking` there is no room."""

    def __init__(self, *lacking: int) -> None:
        self.captured = 0
        self.replayed = 0
        self.lacking = lacking

    def capture(self, step: Callable[[], None]) -> Callable[[], None]:
        self.captured += 1
        if self.captured in self.lacking:
            raise torch.OutOfMemoryError("out of memory")
        step()
        return partial(self.replay, step)

    def replay(self, step: Callable[[], None]) -> None:
        self.replayed += 1
        step()


def _as_it_is(call: Any, **_: Any) -> Any:
    return call


@pytest.fixture
def tape(monkeypatch: pytest.MonkeyPatch) -> Tape:
    """What all loops of a test capture with."""
    tape = Tape()

    def graphs(runner: PagedModelRunner, allocator: Any) -> PrefillCudaGraphs:
        return PrefillCudaGraphs(
            most_tokens=runner.cache.max_batch_tokens,
            waste=allocator.write_trash_index,
            blank_slot=allocator.read_trash_index,
            device=torch.device("cpu"),
            capture=tape.capture,
        )

    monkeypatch.setattr(torch, "compile", _as_it_is)
    monkeypatch.setattr(PagedModelRunner, "_graphs_of_prompts", graphs)
    return tape


def loop_of(kind: str, *, texts: int = 8) -> Loop:
    return Loop(model_of(kind), compiles=True, texts=texts, batch_tokens=BATCH, pages=200)


def write_all(loop: Loop, kind: str, prompts: dict[str, list[int]]) -> None:
    for name, ids in prompts.items():
        loop.add(name, ids, TOKENS)
    loop.run()
    for name, ids in prompts.items():
        assert ended_well(loop.heard[name])
        assert loop.tokens(name) == generated(kind, ids, TOKENS), name
    loop.assert_nothing_is_held()


def loop_that_remembers(beginning: list[int], tape: Tape) -> Loop:
    """One in which a prompt with this beginning was read; what that replayed is not counted."""
    loop = loop_of("qwen2")
    write_all(loop, "qwen2", {"first": beginning + prompt(5, 7)})
    tape.replayed = 0
    return loop


@pytest.mark.parametrize("kind", KINDS)
def test_texts_are_those_of_generate_alone_and_together(kind: str, tape: Tape) -> None:
    loop = loop_of(kind)
    assert tape.captured == tape.replayed == len(sizes_up_to(BATCH))
    for round_, lengths in enumerate(ROUNDS):
        tape.replayed = 0
        write_all(loop, kind, {f"{round_}/{length}": prompt(length, round_) for length in lengths})
        assert tape.replayed == 1
    assert tape.captured == len(sizes_up_to(BATCH))


def test_what_fills_a_size_up_is_written_to_nobodys_memory_and_nothing_where_blanks_are_read(tape: Tape) -> None:
    loop = loop_of("qwen2")
    with torch.no_grad():
        # The token that a size is filled up with, which would leave nothing to see.
        loop.writer.model.get_input_embeddings().weight[0] = 1
    loop.add("one", prompt(100), TOKENS)
    loop.run()
    keys, values = loop.allocator.get_cache_for_block_table(0)
    blank, waste = (index // PAGE for index in (loop.allocator.read_trash_index, loop.allocator.write_trash_index))
    written = {page for page in range(len(keys)) if keys[page].any() or values[page].any()}
    assert waste in written
    assert blank not in written
    assert len(written - {waste}) == -(-(100 + TOKENS - 1) // PAGE)


def test_more_texts_than_a_graph_takes_are_launched_one_by_one(tape: Tape, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prompt_graphs, "MOST_TEXTS", 3)
    loop = loop_of("qwen2")
    tape.replayed = 0
    write_all(loop, "qwen2", {f"{place}": prompt(3, place) for place in range(4)})
    assert tape.replayed == 0
    write_all(loop, "qwen2", {f"again {place}": prompt(4, place) for place in range(3)})
    assert tape.replayed == 1


def test_prompts_whose_beginning_is_remembered_are_replayed_with_others(tape: Tape) -> None:
    shared = prompt(2 * PAGE)
    loop = loop_that_remembers(shared, tape)
    write_all(loop, "qwen2", {"second": shared + prompt(9, 7), "whole": prompt(40), "third": shared + prompt(1, 3)})
    assert tape.replayed == 1


def test_the_rest_of_a_prompt_that_was_cut_is_replayed(tape: Tape) -> None:
    loop = loop_of("qwen2")
    tape.replayed = 0
    write_all(loop, "qwen2", {"one": prompt(BATCH - 40), "cut": prompt(90), "whole": prompt(20)})
    assert tape.replayed == 2


def test_prompts_of_which_more_is_remembered_than_fits_are_launched(tape: Tape) -> None:
    shared = prompt(15 * PAGE)
    loop = loop_that_remembers(shared, tape)
    write_all(loop, "qwen2", {f"{place}": shared + prompt(9, place) for place in range(3)})
    assert tape.replayed == 0


def test_sizes_for_which_there_is_no_room_are_filled_up_to_larger_ones_or_launched(tape: Tape) -> None:
    # The largest of whole prompts, and the smallest.
    tape.lacking = (2, len(sizes_up_to(BATCH)))
    loop = loop_of("qwen2")
    tape.replayed = 0
    write_all(loop, "qwen2", {"small": prompt(30)})
    assert tape.replayed == 1
    write_all(loop, "qwen2", {"large": prompt(BATCH)})
    assert tape.replayed == 1
    assert tape.captured == len(sizes_up_to(BATCH))


def test_one_that_cannot_be_captured_keeps_nobody_from_serving(
    tape: Tape, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(_: Callable[[], None]) -> Callable[[], None]:
        raise RuntimeError("no such kernel")

    monkeypatch.setattr(tape, "capture", fail)
    loop = loop_of("qwen2")
    assert [record.why for record in caplog.records if record.msg == "prompts are not captured"] == [
        "RuntimeError: no such kernel"
    ]
    write_all(loop, "qwen2", {"one": prompt(100)})


def test_a_graph_that_gives_something_else_is_not_used(tape: Tape, monkeypatch: pytest.MonkeyPatch) -> None:
    replayed = PrefillCudaGraphs.run

    def run(graphs: PrefillCudaGraphs, size: GraphBucket, step: Callable[[], Any]) -> Any:
        out = replayed(graphs, size, step)
        out.last_hidden_state.mul_(-1)
        return out

    monkeypatch.setattr(PrefillCudaGraphs, "run", run)
    loop = loop_of("qwen2")
    assert tape.captured == 1
    write_all(loop, "qwen2", {"one": prompt(100)})
    assert tape.replayed == 1


@pytest.mark.gpu
@pytest.mark.timeout(300)
@pytest.mark.parametrize("kind", KINDS)
def test_an_accelerator_replays_what_it_would_launch(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = model_of(kind).to(torch.accelerator.current_accelerator(), torch.bfloat16)
    loop = Loop(model, compiles=True, texts=4, pages=12, batch_tokens=BATCH, page=ACCELERATOR_PAGE)
    prompts = loop.processor.model_runner._prompts
    assert prompts._graphs.sizes == sizes_up_to(BATCH)
    replay, replayed = prompts._replay, []

    def compare(graphs: PrefillCudaGraphs, size: GraphBucket) -> Any:
        tokens = prompts._batch["input_ids"].shape[1]
        launched = prompts._launch().last_hidden_state.clone()
        out = replay(graphs, size)
        torch.testing.assert_close(out.last_hidden_state[:, :tokens], launched, atol=0.05, rtol=0.05)
        replayed.append(tokens)
        return out

    monkeypatch.setattr(prompts, "_replay", compare)
    for round_, lengths in enumerate(ROUNDS):
        for length in lengths:
            loop.add(f"{round_}/{length}", prompt(length, round_), TOKENS)
        loop.run()
    shared = prompt(ACCELERATOR_PAGE)
    for length in (3, 20):
        loop.add(f"shared {length}", shared + prompt(length, 7), TOKENS)
        loop.add(f"whole {length}", prompt(length, 9), TOKENS)
        loop.run()
    assert replayed == [2, 128, 132, 300, 175, ACCELERATOR_PAGE + 6, 40]
    loop.assert_nothing_is_held()


def test_sizes_have_room_for_every_step_and_waste_little() -> None:
    for most in (1, 100, 128, 1000, 8192):
        sizes = sizes_up_to(most)
        assert sizes == tuple(sorted(set(sizes)))
        for tokens in range(1, most + 1):
            for read in (0, tokens + most):
                fits = next(size for size in sizes if min(size.tokens, size.longest) >= tokens and size.read >= read)
                assert fits.tokens - tokens < min(max(128, tokens), 512)
    assert sizes_up_to(128) == (GraphBucket(128, 128, read=0), GraphBucket(128, 128, read=256))
