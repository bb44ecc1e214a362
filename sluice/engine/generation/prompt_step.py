"""A step of prompts, compiled: one graph for all numbers of tokens, which knows nothing of texts nor of the cache.

What prompts differ in is only known to the attention, which is one operator to the compiler. Of a step of prompts that
is launched operation by operation most is the time of launching them.
"""

from __future__ import annotations

import itertools
import weakref
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from sluice.engine.generation.laid_attention import attend_laid

# What the model is asked with. The rest of a batch is for attention and cache.
_ASKED = ("input_ids", "position_ids", "attention_mask", "logits_indices", "logits_to_keep", "logits_processor_args")

_handles = itertools.count(1)
_held: weakref.WeakValueDictionary[int, Prompts] = weakref.WeakValueDictionary()


class Prompts:
    """In the place of transformers' `cache` in a compiled step of prompts; in the graph `handle` stands for it."""

    def __init__(self, cache: Any) -> None:
        self.handle = next(_handles)
        self._cache = cache
        self._batch: Mapping[str, Any] = {}
        _held[self.handle] = self

    def take(self, batch: Mapping[str, Any]) -> dict[str, Any]:
        """Remember where the texts of the next step lie, and return what is left to ask the model with."""
        self._batch = batch
        return {name: batch[name] for name in _ASKED if name in batch} | {"cache": self, "use_cache": False}

    def update(
        self, key_states: Tensor, value_states: Tensor, layer_idx: int, kwargs: dict[str, Any]
    ) -> tuple[Tensor, Tensor]:
        """As transformers has it: the new tokens' keys and values, as they came."""
        kwargs["prompts_handle"], kwargs["prompts_layer"] = self.handle, layer_idx
        return key_states, value_states

    def keep_and_attend(self, query: Tensor, key: Tensor, value: Tensor, layer: int, scale: float) -> Tensor:
        """Write a layer's new keys and values to the cache, and attend to them and what texts have there already."""
        laid = dict(self._batch)
        key, value = self._cache.update(key, value, layer, laid)
        return attend_laid(query, key, value, scale=scale, **laid)


def compile_prompts(model: Any) -> None:
    """Let the body of `model`, without its head, run compiled where its cache is Prompts, from now on."""
    body = model.base_model
    usual = body.forward
    compiled: Callable[..., Any] = torch.compile(usual, dynamic=True)

    def forward(*args: Any, **kwargs: Any) -> Any:
        if not isinstance(kwargs.get("cache"), Prompts):
            return usual(*args, **kwargs)
        # Whatever counts prompts would be another shape for a single one. Single tokens are a step by pages.
        asked = ("input_ids", "position_ids", "attention_mask", "cache", "use_cache")
        return compiled(**{name: kwargs[name] for name in asked if name in kwargs})

    body.forward = forward


@torch.library.custom_op("sluice::keep_and_attend", mutates_args=())
def keep_and_attend(query: Tensor, key: Tensor, value: Tensor, handle: int, layer: int, scale: float) -> Tensor:
    """As Prompts has it; `query`, `key` and `value` are (1, heads, tokens, width) with their own heads.

    Returns (1, tokens, heads, width). To a compiler it is a pure function: who reads the cache comes after it in the
    same stream.
    """
    return _held[handle].keep_and_attend(query, key, value, layer, scale).contiguous()


@keep_and_attend.register_fake
def _like_query(query: Tensor, *_: Any) -> Tensor:
    return torch.empty_like(query.transpose(1, 2), memory_format=torch.contiguous_format)
