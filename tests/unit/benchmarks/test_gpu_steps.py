"""The steps that are measured compute what transformers computes, however they are launched."""

from __future__ import annotations

import pytest

pytest.importorskip("torch")

import torch
from torch._dynamo.utils import counters

from benchmarks.gpu.bench import Bench
from benchmarks.gpu.qwen import DTYPES, cache_argument, make_model, streamed_bytes
from benchmarks.gpu.steps import FixedCache, compiled_twin, decode, prefill

pytestmark = [pytest.mark.torch, pytest.mark.timeout(300)]
BENCH = Bench(torch.device("cpu"), smoke=True, graphs=False)
TOKENS = 9


@pytest.mark.parametrize("precision", DTYPES)
def test_a_model_is_made_in_the_type_of_its_precision(precision: str) -> None:
    model = make_model(BENCH, precision)
    assert {one.dtype for one in model.parameters()} == {DTYPES[precision]}
    table = model.get_input_embeddings().weight
    whole = sum(one.numel() * one.element_size() for one in model.parameters())
    assert streamed_bytes(model) == whole - table.numel() * table.element_size()


def test_a_prefill_says_what_the_plain_model_says_and_keeps_keys_and_values() -> None:
    model = make_model(BENCH, "fp32")
    torch.manual_seed(1)
    ids = torch.randint(0, model.config.vocab_size, (2, TOKENS))
    torch.manual_seed(1)
    cache, logits = prefill(model, 2, TOKENS)()
    with torch.no_grad():
        plain = model(input_ids=ids).logits[:, -1:]
    torch.testing.assert_close(logits, plain)
    assert cache.layers.keys() == set(range(model.config.num_hidden_layers))
    assert cache.layers[0][0].shape == (2, 2, TOKENS, 16)


def test_a_decode_step_says_what_the_plain_model_says_of_the_whole_text() -> None:
    model = make_model(BENCH, "fp32")
    torch.manual_seed(1)
    kept, _ = prefill(model, 2, TOKENS)()
    torch.manual_seed(1)
    text = torch.randint(0, model.config.vocab_size, (2, TOKENS))
    ids = torch.cat([text, torch.tensor([[3], [4]])], dim=1)
    fixed, name = FixedCache(model, 2, TOKENS + 1), cache_argument(model)
    with torch.inference_mode():
        for number, (keys, values) in kept.layers.items():
            fixed.slots[number].keys[:, :, :-1] = keys
            fixed.slots[number].values[:, :, :-1] = values
        given = {name: fixed, "attention_mask": {"full_attention": None}}
        step = model(input_ids=ids[:, -1:], position_ids=torch.tensor([[TOKENS]]), **given).logits
        plain = model(input_ids=ids).logits[:, -1:]
    torch.testing.assert_close(step, plain)


def test_a_step_leaves_the_cache_as_long_as_it_was_and_says_the_same_again() -> None:
    step = decode(make_model(BENCH, "fp32"), 3, TOKENS)
    assert torch.equal(step(), step())


def test_a_compiled_twin_says_the_same_on_the_same_weights_and_compiles_one_layer_for_all() -> None:
    model = make_model(BENCH, "fp32")
    plain = []
    for batch in (1, 4):
        torch.manual_seed(batch)
        plain.append(decode(model, batch, TOKENS)())
    torch.compiler.reset()
    counters.clear()
    twin = compiled_twin(model, backend="aot_eager")
    assert twin.lm_head.weight is model.lm_head.weight
    for batch, wanted in zip((1, 4), plain, strict=True):
        torch.manual_seed(batch)
        torch.testing.assert_close(decode(twin, batch, TOKENS)(), wanted)
    assert model.config.num_hidden_layers == 3
    # A layer and the head, each for two batches.
    assert counters["stats"]["unique_graphs"] == 4
    torch.manual_seed(4)
    assert torch.equal(decode(model, 4, TOKENS)(), plain[1])
