"""Absorbed latent attention: only of models that expand latents by a plain matrix, and the same as expanding them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM

from sluice.engine.generation.attention.backend import attend
from sluice.engine.generation.attention.mla import can_absorb
from sluice.engine.generation.attention.paged import PagedCacheView
from tests.unit.engine import tiny
from tests.unit.engine.generation.loops import SETTINGS, Loop, model_of, prompt, written_by

pytestmark = pytest.mark.torch
PAGE = 16
LENGTHS = (1, PAGE, PAGE + 5, 2 * PAGE - 1)


def attention_of(model: Any) -> Any:
    return model.model.layers[0].self_attn


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_what_single_tokens_find_is_what_they_find_among_expanded_latents(dtype: torch.dtype) -> None:
    module = attention_of(model_of("deepseek_v3").to(dtype))
    dice = torch.Generator().manual_seed(1)
    heads, rank, rope = module.num_heads, module.kv_lora_rank, module.qk_rope_head_dim
    texts = len(LENGTHS)
    query = torch.randn(1, heads, texts, module.qk_head_dim, generator=dice).to(dtype)
    rows = [torch.randn(length, rank + rope, generator=dice).to(dtype) for length in LENGTHS]
    # All but the last token of each text lie in its pages, which begin behind two that are nobody's.
    table = torch.tensor([[2 + 2 * text, 3 + 2 * text, -1] for text in range(texts)], dtype=torch.int32)
    cache = torch.zeros(2 + 2 * texts, PAGE, 1, rank + rope, dtype=dtype)
    for text, row in enumerate(rows):
        cache.view(-1, rank + rope)[(2 + 2 * text) * PAGE :][: len(row) - 1] = row[:-1]
    new = torch.stack([row[-1] for row in rows])[None, None]
    pages = PagedCacheView({5: (cache, cache)}, waste=1, are_latent=True)
    kwargs: dict[str, Any] = {}
    latents = pages.update(new[..., :rank], new[..., rank:], 5, kwargs)
    ends = torch.tensor([0, *LENGTHS]).cumsum(0).to(torch.int32)
    found, _ = attend(
        module,
        query,
        *module.expand_kv(*latents),
        None,
        scaling=module.scaling,
        page_step=pages.step(ends, table),
        **kwargs,
    )
    assert found.shape == (1, texts, heads, module.v_head_dim)
    bound = 1e-5 if dtype is torch.float32 else 5e-2
    for text, row in enumerate(rows):
        keys, values = module.double().expand_kv(row[None, None, :, :rank].double(), row[None, None, :, rank:].double())
        weights = (query[:, :, text : text + 1].double() @ keys.transpose(-1, -2) * module.scaling).softmax(-1)
        torch.testing.assert_close(found[:, text].double(), (weights @ values)[:, :, 0], atol=bound, rtol=bound)
        assert torch.equal(cache.view(-1, rank + rope)[(2 + 2 * text) * PAGE + len(row) - 1], row[-1])


def test_a_model_without_latents_has_nothing_to_absorb() -> None:
    assert not can_absorb(model_of("qwen2"))


def _with_bias(module: Any) -> None:
    module.kv_b_proj.bias = nn.Parameter(torch.ones(module.kv_b_proj.out_features))


def _scaled(module: Any) -> None:
    usual = module.expand_kv
    module.expand_kv = lambda latents, rotated: usual(2 * latents, rotated)


class _Other(nn.Linear):
    """What a quantizer puts in a linear layer's place."""


def _replaced(module: Any) -> None:
    plain = module.kv_b_proj
    module.kv_b_proj = _Other(plain.in_features, plain.out_features, bias=False)


@pytest.mark.parametrize("change", [_with_bias, _scaled, _replaced])
def test_a_model_that_expands_otherwise_writes_as_before(change: Any) -> None:
    model = model_of("deepseek_v3")
    assert can_absorb(model)
    change(attention_of(model))
    assert not can_absorb(model)
    plain = [written_by(model, prompt(length), 12) for length in (3, PAGE + 2)]
    loop = Loop(model)
    assert loop.processor.cache.max_decode_fast_path_length == 0
    for length in (3, PAGE + 2):
        loop.add(f"{length}", prompt(length), 12)
    loop.run()
    assert [loop.tokens(f"{length}") for length in (3, PAGE + 2)] == plain


@pytest.mark.parametrize("architecture", ["deepseek_v2", "deepseek_v3", "glm4_moe_lite", "minicpm3", "youtu"])
def test_whoever_keeps_latents_writes_by_pages_what_generate_writes(architecture: str) -> None:
    torch.manual_seed(0)
    config = AutoConfig.for_model(architecture, **{**tiny.LATENT, **SETTINGS})
    model = AutoModelForCausalLM.from_config(config).eval()
    lengths = (3, PAGE, 50)
    wanted = [written_by(model, prompt(length), 20) for length in lengths]
    loop = Loop(model)
    assert loop.processor.cache.max_decode_fast_path_length > 0
    for length in lengths:
        loop.add(f"{length}", prompt(length), 20)
    loop.run()
    assert [loop.tokens(f"{length}") for length in lengths] == wanted
