"""Steps of a language model by plain transformers, such as a graph can hold: same shapes, same places, no questions."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial
from typing import Any

import torch

from benchmarks.gpu.qwen import cache_argument


class Slot:
    """Keys and values of one layer, of which the last place is written: what attention asks of a cache in a step."""

    def __init__(self, keys: torch.Tensor, values: torch.Tensor) -> None:
        self.keys = keys
        self.values = values

    def update(self, keys: torch.Tensor, values: torch.Tensor, *_: Any, **__: Any) -> tuple[torch.Tensor, torch.Tensor]:
        """Both with the new token's in their place."""
        self.keys[:, :, -1:].copy_(keys)
        self.values[:, :, -1:].copy_(values)
        return self.keys, self.values


class FixedCache:
    """A slot for each layer, filled with random numbers: how long attention takes does not depend on them."""

    def __init__(self, model: Any, batch: int, tokens: int) -> None:
        config = model.config
        shape = (batch, config.num_key_value_heads, tokens, config.hidden_size // config.num_attention_heads)
        self.slots = [
            Slot(*(torch.randn(shape, device=model.device, dtype=model.dtype) for _ in range(2)))
            for _ in range(config.num_hidden_layers)
        ]

    def update(
        self, keys: torch.Tensor, values: torch.Tensor, layer: int, *_: Any, **__: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Keys and values of a layer with the new token's in their place."""
        return self.slots[layer].update(keys, values)


class KeptCache:
    """Keeps what prompts leave behind them in each layer: there was nothing before."""

    def __init__(self) -> None:
        self.layers: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}

    def update(
        self, keys: torch.Tensor, values: torch.Tensor, layer: int, *_: Any, **__: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """What was given."""
        self.layers[layer] = keys, values
        return keys, values


# Nothing is padded, so nothing has to be masked but the future, and nobody has to look whether it has.
_UNMASKED: dict[str, Any] = {"full_attention": None}


def prefill(model: Any, batch: int, tokens: int) -> Callable[[], Any]:
    """Reads `batch` random prompts into a cache, which it returns with the logits of what comes next."""
    ids = torch.randint(0, model.config.vocab_size, (batch, tokens), device=model.device)
    positions = torch.arange(tokens, device=model.device).unsqueeze(0)
    name = cache_argument(model)

    @torch.inference_mode()
    def step() -> Any:
        cache = KeptCache()
        given = {name: cache, "attention_mask": _UNMASKED}
        return cache, model(input_ids=ids, position_ids=positions, use_cache=True, logits_to_keep=1, **given).logits

    return step


def decode(model: Any, batch: int, cached: int) -> Callable[[], Any]:
    """One step of `batch` texts that have `cached` tokens each behind them; the logits of what comes next."""
    ids = torch.randint(0, model.config.vocab_size, (batch, 1), device=model.device)
    position = torch.full((1, 1), cached, device=model.device)
    given = {cache_argument(model): FixedCache(model, batch, cached + 1), "attention_mask": _UNMASKED}

    @torch.inference_mode()
    def step() -> Any:
        return model(input_ids=ids, position_ids=position, use_cache=True, **given).logits

    return step


def compiled_twin(model: Any, *, backend: str, options: dict[str, Any] | None = None) -> Any:
    """A model on the same weights, of which torch.compile fuses the kernels of a decoder layer; `options` are its own.

    One layer is compiled for all, which differ in weights only. A layer knows its number, by which it would be compiled
    anew each time; so it is given its slot instead.
    """
    twin = copy.deepcopy(model, {id(one): one for one in (*model.parameters(), *model.buffers())})
    name = cache_argument(twin)
    compile_ = partial(torch.compile, backend=backend, options=options, fullgraph=True, dynamic=False)
    compiled = compile_(type(twin.model.layers[0]).forward)
    twin.lm_head.forward = compile_(twin.lm_head.forward)

    def with_slot(layer: Any, number: int) -> Callable[..., Any]:
        def forward(*inputs: Any, **options: Any) -> Any:
            return compiled(layer, *inputs, **{**options, name: options[name].slots[number]})

        return forward

    for number, layer in enumerate(twin.model.layers):
        layer.self_attn.layer_idx = 0
        layer.forward = with_slot(layer, number)
    return twin
