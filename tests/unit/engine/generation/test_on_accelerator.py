"""The loop where it belongs: an accelerator's pages, graphs and steps ahead, in fp32, against the CPU's `generate`."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from typing import Any

import pytest
import torch

from sluice.engine.generation.kv_cache import ACCELERATOR_PAGE
from sluice.engine.generation.sampler import NO_TOKEN
from sluice.engine.generation.sequence import OOM_PREFIX
from tests.unit.engine.generation.loops import KINDS, VOCABULARY, Loop, generated, model_of, prompt

pytestmark = [
    pytest.mark.torch,
    pytest.mark.gpu,
    pytest.mark.parametrize("kind", KINDS),
    pytest.mark.timeout(300),
]
PAGE = ACCELERATOR_PAGE
TOKENS = 20
# Across the edges of pages while they are written, and cut into pieces.
LENGTHS = (1, 40, PAGE - 9, PAGE, PAGE + 1, 2 * PAGE + 50)


@pytest.fixture(autouse=True)
def exactly() -> Any:
    """No rounding of fp32 to fewer bits."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    yield
    torch.set_float32_matmul_precision(before)


@pytest.fixture(autouse=True)
def alone() -> Iterator[None]:
    """No graph of one test is freed while another's is captured."""
    yield
    gc.collect()


def there(kind: str) -> Any:
    return model_of(kind).to(torch.accelerator.current_accelerator())


def loop_of(model: Any, *, compiles: bool = False) -> Loop:
    return Loop(model, texts=4, pages=12, batch_tokens=200, page=PAGE, compiles=compiles)


@pytest.mark.parametrize("compiles", [False, True], ids=["as it is", "compiled"])
def test_texts_of_all_lengths_come_join_and_are_cancelled(kind: str, compiles: bool) -> None:
    loop = loop_of(there(kind), compiles=compiles)
    for length in LENGTHS:
        loop.add(f"{length}", prompt(length), TOKENS)
        loop.step()
        loop.add(f"gone {length}", prompt(length, 1), 3 * TOKENS)
    for length in LENGTHS:
        loop.run(f"gone {length}")
        for _ in range(length % 7):
            loop.step()
        loop.cancel(f"gone {length}")
    loop.run()
    for length in LENGTHS:
        assert loop.tokens(f"{length}") == generated(kind, prompt(length), TOKENS), length
    loop.assert_nothing_is_held()


def test_a_beginning_is_shared(kind: str) -> None:
    loop = loop_of(there(kind))
    prompts = {f"{seed}": prompt(PAGE + 20) + prompt(9, seed) for seed in range(3)}
    for name, ids in prompts.items():
        loop.add(name, ids, TOKENS)
        loop.run(name)
    assert len({loop.pages_of(name)[0] for name in prompts}) == 1
    loop.run()
    for name, ids in prompts.items():
        assert loop.tokens(name) == generated(kind, ids, TOKENS)


def test_a_seed_is_drawn_alike_alone_and_in_a_crowd(kind: str) -> None:
    drawn = []
    for crowd in (0, 3):
        loop = loop_of(there(kind))
        for number in range(crowd):
            loop.add(f"other {number}", prompt(7 + number), TOKENS, temperature=1.0, seed=100 + number)
        loop.add("one", prompt(30), TOKENS, temperature=0.9, top_p=0.9, top_k=50, seed=5)
        loop.run()
        drawn.append(loop.tokens("one"))
    assert drawn[0] == drawn[1]


def test_steps_without_room_are_split(kind: str) -> None:
    model = there(kind)
    failures = []

    def look(_: Any, __: Any, kwargs: dict[str, Any]) -> None:
        if kwargs["input_ids"].numel() > 90:
            failures.append(kwargs["input_ids"].numel())
            raise torch.OutOfMemoryError("out of memory")

    # Only now: what is warmed up is as large as batches may be.
    loop = loop_of(model)
    model.register_forward_pre_hook(look, with_kwargs=True)
    prompts = {f"{seed}": prompt(50, seed) for seed in range(5)}
    for name, ids in prompts.items():
        loop.add(name, ids, TOKENS)
        loop.step()
    loop.add("long", prompt(400), TOKENS)
    loop.run()
    assert failures
    assert (loop.heard["long"].error or "").startswith(OOM_PREFIX)
    for name, ids in prompts.items():
        assert loop.tokens(name) == generated(kind, ids, TOKENS), name
    loop.assert_nothing_is_held()


def test_no_number_spoils_nobody(kind: str) -> None:
    good = {f"{seed}": prompt(50, seed) for seed in range(6)}
    used = {token for ids in good.values() for token in (*ids, *generated(kind, ids, TOKENS))}
    token = next(token for token in range(3, VOCABULARY) if token not in used)
    model = model_of(kind)
    with torch.no_grad():
        model.get_input_embeddings().weight[token] = torch.nan
    loop = loop_of(model.to(torch.accelerator.current_accelerator()))
    for name, ids in good.items():
        loop.add(name, ids, TOKENS)
        loop.add(f"bad {name}", [*ids[:30], token], TOKENS)
    loop.run()
    for name, ids in good.items():
        assert loop.tokens(f"bad {name}") == [NO_TOKEN]
        assert loop.tokens(name) == generated(kind, ids, TOKENS)
    loop.assert_nothing_is_held()
