"""A step of prompts, compiled: one graph for all numbers of tokens, which knows nothing of texts nor of the cache.

What prompts differ in is only known to the attention, which is one operator to the compiler. Of a step of prompts that
is launched operation by operation most is the time of launching them.
"""

from __future__ import annotations

import itertools
import weakref
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor

from sluice.engine.generation.laid_attention import attend_laid
from sluice.engine.generation.prompt_graphs import PromptGraphs
from sluice.engine.out_of_memory import is_out_of_memory

# What the model is asked with. The rest of a batch is for attention and cache.
_ASKED = ("input_ids", "position_ids", "attention_mask", "logits_indices", "logits_to_keep", "logits_processor_args")

_handles = itertools.count(1)
_held: weakref.WeakValueDictionary[int, Prompts] = weakref.WeakValueDictionary()


class Prompts:
    """In the place of transformers' `cache` in a compiled step of prompts; in the graph `handle` stands for it.

    `graphs`: where steps are captured besides, to be launched at once.
    """

    def __init__(self, cache: Any, graphs: PromptGraphs | None = None) -> None:
        self.handle = next(_handles)
        self._cache = cache
        self._graphs = graphs
        self._batch: Mapping[str, Any] = {}
        _held[self.handle] = self

    def take(self, batch: Mapping[str, Any]) -> dict[str, Any]:
        """Remember where the texts of the next step lie, and return what is left to ask the model with."""
        self._batch = batch
        return {name: batch[name] for name in _ASKED if name in batch} | {"cache": self, "use_cache": False}

    def warm_up(self, body: Callable[..., Any]) -> None:
        """Capture a compiled `body` for all sizes, the largest first: the memory of that is enough for the others."""
        if self._graphs is None:
            return
        for size in reversed(self._graphs.sizes):
            try:
                body(**self.take(self._graphs.blank(size)))
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
                self._graphs.give_up(size)

    def run(self, body: Callable[..., Any], asked: Mapping[str, Any]) -> Any:
        """What `body` makes of the texts that were taken."""
        size = self._graphs.size_for(self._batch) if self._graphs is not None else None
        if self._graphs is not None and size is not None:
            self._batch = self._graphs.put(self._batch, size)
        # What a view is a view of would be another reason to compile anew.
        plain = {name: self._batch[name].data for name in ("input_ids", "position_ids")}
        step = partial(body, **{**asked, **plain})
        return self._graphs.run(size, step) if self._graphs is not None and size is not None else step()

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
        prompts = kwargs.get("cache")
        if not isinstance(prompts, Prompts):
            return usual(*args, **kwargs)
        # Whatever counts prompts would be another shape for a single one. Single tokens are a step by pages.
        asked = ("input_ids", "position_ids", "attention_mask", "cache", "use_cache")
        return prompts.run(compiled, {name: kwargs[name] for name in asked if name in kwargs})

    body.forward = forward


def release_prompts(model: Any) -> None:
    """Take back what `compile_prompts` did: a body that knows a function that knows it is no collector's if frozen."""
    vars(model.base_model).pop("forward", None)


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
