"""How a token is drawn: from exactly the tokens it may be, as often as it should, and alike for a seed."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from transformers.generation.continuous_batching.requests import FutureRequestState, RequestState

from sluice.engine.generation import sampler as sampling
from sluice.engine.generation.sampler import SAMPLING, Sampler, SamplerState, SamplingMode, _gumbel, sampled_scores
from sluice.worker.execution.generator import GenerationRequest
from tests.unit.engine.generation.loops import KINDS, VOCABULARY, Loop, generated, model_of, prompt

pytestmark = pytest.mark.torch
NONE = -math.inf


def column(*values: float, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.tensor(values, dtype=dtype)[:, None]


def may_be(scores: Tensor, *, top_p: float = 1.0, top_k: int = 0, temperature: float = 1.0) -> list[int]:
    """The tokens of one row that can be drawn at all."""
    kept = sampled_scores(
        scores[None],
        temperature=column(temperature),
        top_p=column(top_p),
        top_k=column(top_k, dtype=torch.int32),
        key=column(7, dtype=torch.int32),
        truncated=True,
    )
    return (kept[0] > NONE).nonzero().flatten().tolist()


def drawn(scores: Tensor, count: int, **way: Any) -> Tensor:
    """`count` draws of one row, as consecutive places of a text, (tokens,) times each was drawn."""
    sampling = SamplerState(GenerationRequest(text="", max_new_tokens=1), seed=5)
    keys = torch.tensor([sampling.next_key() for _ in range(count)], dtype=torch.int32)[:, None]
    rows = sampled_scores(
        scores.expand(count, -1),
        temperature=torch.full((count, 1), way.get("temperature", 1.0)),
        top_p=torch.full((count, 1), way.get("top_p", 1.0)),
        top_k=torch.full((count, 1), way.get("top_k", 0), dtype=torch.int32),
        key=keys,
        truncated="top_p" in way or "top_k" in way,
    )
    return torch.bincount(rows.argmax(-1), minlength=len(scores))


def chi_square(counts: Tensor, probabilities: Tensor) -> float:
    """Pearson's statistic, over those that can occur."""
    expected = probabilities.double() * counts.sum()
    possible = expected > 0
    assert counts[~possible].sum() == 0
    return float(((counts[possible] - expected[possible]) ** 2 / expected[possible]).sum())


SCORES = torch.tensor([2.0, 1.0, 0.5, 0.0, -1.0, 1.5, -0.5, 0.25])
# Of seven degrees of freedom: exceeded once in ten thousand experiments, and this one is always the same.
BOUND = 29.9


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_tokens_are_drawn_as_often_as_the_softmax_says(temperature: float) -> None:
    counts = drawn(SCORES, 20_000, temperature=temperature)
    assert chi_square(counts, (SCORES / temperature).softmax(-1)) < BOUND


def test_what_is_cut_off_is_shared_out_among_the_rest() -> None:
    kept = torch.tensor([0, 5, 1])
    masked = torch.full_like(SCORES, NONE)
    masked[kept] = SCORES[kept]
    assert chi_square(drawn(SCORES, 20_000, top_k=3), masked.softmax(-1)) < BOUND
    assert chi_square(drawn(SCORES, 20_000, top_p=0.7), masked.softmax(-1)) < BOUND


def test_draws_of_neighbouring_places_and_seeds_do_not_hang_together() -> None:
    even = torch.zeros(16)
    first = []
    for seed in range(20_000):
        sampling = SamplerState(GenerationRequest(text="", max_new_tokens=1, seed=seed), seed=0)
        first.append([sampling.next_key(), sampling.next_key()])
    keys = torch.tensor(first, dtype=torch.int32)
    draws = torch.stack([_gumbel(keys[:, place : place + 1], 16).argmax(-1) for place in (0, 1)])
    pairs = torch.bincount(draws[0] * 16 + draws[1], minlength=256)
    # Of 255 degrees of freedom: exceeded once in ten thousand experiments.
    assert chi_square(pairs, even.softmax(-1).repeat(16) / 16) < 345


def test_noise_is_a_number_for_every_token_of_a_large_vocabulary() -> None:
    for key in range(-200, 200):
        noise = _gumbel(torch.tensor([[key * 7_919]], dtype=torch.int32), 151_936)
        assert noise.isfinite().all()


@pytest.mark.parametrize("top_k", [1, 2, 3, 7, 8, 9, 1_000])
def test_top_k_is_the_k_most_probable(top_k: int) -> None:
    assert may_be(SCORES, top_k=top_k) == sorted(SCORES.argsort(descending=True)[:top_k].tolist())


@pytest.mark.parametrize("temperature", [0.3, 1.0, 3.0])
@pytest.mark.parametrize("top_p", [1e-9, 0.1, 0.4, 0.5, 0.9, 0.999])
def test_top_p_is_the_fewest_that_reach_p_together(top_p: float, temperature: float) -> None:
    probabilities = (SCORES.double() / temperature).softmax(-1)
    expected: list[int] = []
    for token in probabilities.argsort(descending=True).tolist():
        expected.append(token)
        if probabilities[expected].sum() >= top_p:
            break
    assert may_be(SCORES, top_p=top_p, temperature=temperature) == sorted(expected)


def test_top_p_counts_among_the_top_k() -> None:
    # Half of two that are alike is one of them.
    scores = torch.tensor([0.0, 3.0, 3.0, 2.9])
    assert may_be(scores, top_k=2) == [1, 2]
    assert len(may_be(scores, top_k=2, top_p=0.5)) == 1
    assert may_be(scores, top_k=2, top_p=0.51) == [1, 2]
    assert may_be(scores, top_p=0.51) == [1, 2]


def test_of_tokens_that_are_alike_exactly_k_remain() -> None:
    assert len(may_be(torch.zeros(50), top_k=7)) == 7
    assert len(may_be(torch.zeros(64), top_p=0.25)) == 16


def test_a_token_that_cannot_be_is_not_drawn() -> None:
    scores = torch.tensor([NONE, 1.0, NONE, 1.0])
    assert set(drawn(scores, 200).nonzero().flatten().tolist()) == {1, 3}
    assert may_be(scores, top_k=4) == [1, 3]


@pytest.mark.parametrize("temperature", [1e-3, 1e-30, 1e-40])
def test_the_lower_the_temperature_the_surer_the_largest(temperature: float) -> None:
    assert drawn(SCORES, 100, temperature=temperature).argmax() == 0
    assert drawn(SCORES, 100, temperature=temperature)[0] == 100
    assert drawn(SCORES, 100, temperature=temperature, top_p=0.9)[0] == 100


def test_a_very_high_temperature_makes_all_alike() -> None:
    assert chi_square(drawn(SCORES, 20_000, temperature=1e30), torch.full((8,), 1 / 8)) < BOUND


def test_rows_without_a_temperature_stay_as_they_are() -> None:
    scores = torch.randn(3, 50, generator=torch.Generator().manual_seed(0))
    for truncated in (False, True):
        out = sampled_scores(
            scores,
            temperature=column(1.0, 0.0, 1.0),
            top_p=column(0.5, 0.5, 1.0),
            top_k=column(3, 3, 0, dtype=torch.int32),
            key=column(1, 2, 3, dtype=torch.int32),
            truncated=truncated,
        )
        assert torch.equal(out[1], scores[1])


def test_no_number_stays_no_number() -> None:
    for bad in (math.nan, math.inf):
        scores = SCORES.clone()
        scores[3] = bad
        for truncated in (False, True):
            out = sampled_scores(
                scores[None],
                temperature=column(1.0),
                top_p=column(0.5),
                top_k=column(3, dtype=torch.int32),
                key=column(1, dtype=torch.int32),
                truncated=truncated,
            )
            assert not out.max(-1).values.isfinite()


def test_a_batch_pays_for_what_its_texts_need() -> None:
    ways: list[tuple[dict[str, Any], SamplingMode]] = [
        ({"temperature": 0.0, "top_p": 0.5, "top_k": 3}, SamplingMode.GREEDY),
        ({"temperature": 0.7}, SamplingMode.TEMPERATURE),
        ({"temperature": 0.7, "top_p": 0.9}, SamplingMode.TRUNCATED),
        ({"temperature": 0.7, "top_k": 4}, SamplingMode.TRUNCATED),
    ]
    for way, draw in ways:
        assert SamplerState(GenerationRequest(text="", max_new_tokens=1, **way), seed=0).draw is draw
    samplers = Sampler()
    assert not samplers.do_processing
    loop = Loop(model_of("qwen2"))
    loop.add("greedy", prompt(4), 20)
    loop.run("greedy")
    assert loop.processor.logit_processor.draw is SamplingMode.GREEDY
    loop.add("drawn", prompt(5), 2, temperature=1.0)
    loop.run("drawn")
    assert loop.processor.logit_processor.draw is SamplingMode.TEMPERATURE
    loop.run()
    assert loop.processor.logit_processor.draw is SamplingMode.GREEDY


def test_a_seed_is_a_text_and_going_back_repeats_it() -> None:
    one, other = (SamplerState(GenerationRequest(text="", max_new_tokens=1, seed=seed), seed=0) for seed in (3, 4))
    keys = [one.next_key() for _ in range(100)]
    assert keys != [other.next_key() for _ in range(100)]
    assert len(set(keys)) == 100
    assert all(-(1 << 31) <= key < 1 << 31 for key in keys)
    one.go_back_to(40)
    assert [one.next_key() for _ in range(60)] == keys[40:]
    for seed in (0, 1, -1, (1 << 63) - 1, -(1 << 63)):
        assert (
            -(1 << 31)
            <= SamplerState(GenerationRequest(text="", max_new_tokens=1, seed=seed), seed=0).next_key()
            < 1 << 31
        )


WAYS: list[dict[str, Any]] = [
    {"temperature": 1.0},
    {"temperature": 0.8, "top_k": 40},
    {"temperature": 1.3, "top_p": 0.8},
    {"temperature": 1.0, "top_p": 0.95, "top_k": 20},
]


@pytest.mark.parametrize("rows_at_once", [2, 256])
@pytest.mark.parametrize("kind", KINDS)
def test_a_seed_gives_the_same_text_alone_and_in_a_crowd_and_leaves_the_greedy_alone(
    kind: str, rows_at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = []
    for place, way in enumerate(WAYS):
        loop = Loop(model_of(kind))
        loop.add("alone", prompt(9), 20, seed=place, **way)
        loop.run()
        alone.append(loop.tokens("alone"))
    monkeypatch.setattr(sampling, "_ROWS_AT_ONCE", rows_at_once)
    crowd = Loop(model_of(kind), texts=9)
    crowd.add("greedy", prompt(9), 20)
    for place, way in enumerate(WAYS):
        crowd.add(f"other {place}", prompt(5 + place), 20, seed=100 + place, temperature=1.0)
        crowd.step()
        crowd.add(f"{place}", prompt(9), 20, seed=place, **way)
    crowd.run()
    assert [crowd.tokens(f"{place}") for place in range(len(WAYS))] == alone
    assert crowd.tokens("greedy") == generated(kind, prompt(9), 20)
    assert len({tuple(tokens) for tokens in alone}) == len(WAYS)


def test_other_seeds_give_other_texts() -> None:
    loop = Loop(model_of("qwen2"))
    for seed in range(6):
        loop.add(f"{seed}", prompt(9), 20, seed=seed, temperature=1.0)
    loop.run()
    assert len({tuple(loop.tokens(f"{seed}")) for seed in range(6)}) == 6


def test_a_kept_sampling_is_not_read_by_texts_that_are_not_drawn() -> None:
    loop = Loop(model_of("qwen2"))
    loop.add("drawn", prompt(9), 30, seed=1, temperature=5.0)
    loop.run("drawn")
    for name in ("a", "b"):
        loop.add(name, prompt(9), 20)
    loop.run()
    assert loop.tokens("a") == loop.tokens("b") == generated("qwen2", prompt(9), 20)


@settings(deadline=None)
@given(
    rows=st.lists(
        st.builds(
            GenerationRequest,
            text=st.just(""),
            max_new_tokens=st.integers(1, 2**32 - 1),
            temperature=st.floats(),
            top_p=st.floats(),
            top_k=st.integers(0, 2**32 - 1),
            seed=st.none() | st.integers(0, 2**64 - 1),
        ),
        min_size=1,
        max_size=5,
    )
)
def test_whatever_numbers_the_wire_can_carry_a_token_is_drawn(rows: list[GenerationRequest]) -> None:
    ways = [SamplerState(prompt, seed=7) for prompt in rows]
    states = [RequestState(f"{at}", [1], logit_processor_kwargs={SAMPLING: way}) for at, way in enumerate(ways)]
    samplers = Sampler()
    storage = torch.zeros(samplers.tensors_required, 8, dtype=torch.int32)
    samplers.prepare_tensor_args([FutureRequestState(state, True, {}, 1) for state in states], storage)
    scores = torch.tensor([0.0, 3.0, -1e4, 2.0, 1.0]).expand(len(rows), -1).clone()
    drawn = samplers(torch.zeros(1), scores.clone(), storage)
    assert not drawn.isnan().any()
    for row, way in zip(drawn, ways, strict=True):
        assert row.max().isfinite()
        if way.draw is SamplingMode.GREEDY:
            assert row.argmax() == 1


@pytest.mark.parametrize("top_k", [VOCABULARY, VOCABULARY + 1, 2**31 - 1, 2**31, 4_000_000_000, 2**32 - 1])
def test_more_than_the_vocabulary_has_is_all_of_it(top_k: int) -> None:
    texts = []
    for way in ({"top_k": 0}, {"top_k": top_k}):
        loop = Loop(model_of("qwen2"))
        loop.add("a", prompt(9), 20, temperature=1.0, seed=3, **way)
        loop.run()
        texts.append(loop.tokens("a"))
    assert texts[0] == texts[1]
    assert len(texts[0]) == 20
