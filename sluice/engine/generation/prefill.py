"""A step of prompts, compiled: one graph for all numbers of tokens, which knows nothing of texts nor of the cache.

What prompts differ in is only known to the attention, which is one operator to the compiler. Of a step of prompts that
is launched operation by operation most is the time of launching them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from sluice.engine.checkpoint.errors import is_out_of_memory
from sluice.engine.generation.attention.compiled import handle_of
from sluice.engine.generation.attention.varlen import varlen_attention
from sluice.engine.generation.prefill_graphs import GraphBucket, PrefillCudaGraphs

# What the model is asked with. The rest of a batch is for attention and cache.
_ASKED = ("input_ids", "position_ids", "attention_mask", "logits_indices", "logits_to_keep", "logits_processor_args")

# Of the largest number. The same kernels round alike.
_SAME = 1e-2


class CompiledPrefill:
    """In the place of transformers' `cache` in a compiled step of prompts; in the graph `handle` stands for it.

    `body` is what `compile_prefill` gave, and `graphs` is where its steps are captured besides, to be launched at once.
    """

    def __init__(self, cache: Any, body: Callable[..., Any], graphs: PrefillCudaGraphs | None = None) -> None:
        self._cache = cache
        self._body = body
        self._graphs = graphs
        self._batch: Mapping[str, Any] = {}
        self.handle = handle_of(self)

    def take(self, batch: Mapping[str, Any]) -> dict[str, Any]:
        """Remember where the texts of the next step lie, and return what is left to ask the model with."""
        self._batch = batch
        return {name: batch[name] for name in _ASKED if name in batch} | {"cache": self, "use_cache": False}

    def warm_up(self) -> None:
        """Capture a graph of each size, the largest first: the memory of that is enough for the others.

        One that does not give what launching gives is not used, and one that cannot be captured keeps nobody from
        serving.
        """
        graphs = self._graphs
        if graphs is None:
            return
        for size in reversed(graphs.sizes):
            # One that went wrong may have taken others with it.
            if size in graphs.sizes:
                self._try_out(graphs, size)

    def run(self) -> Any:
        """What the body makes of the texts that were taken."""
        size = self._graphs.size_for(self._batch) if self._graphs is not None else None
        if self._graphs is None or size is None:
            return self._launch()
        return self._replay(self._graphs, size)

    def _try_out(self, graphs: PrefillCudaGraphs, size: GraphBucket) -> None:
        self._batch = graphs.blank(size)
        try:
            launched = self._launch().last_hidden_state.clone()
            replayed = self._replay(graphs, size).last_hidden_state
        except Exception as error:
            lost = (size,) if is_out_of_memory(error) else graphs.sizes
            graphs.give_up(*lost, why=f"{type(error).__name__}: {error}")
            return
        if not torch.allclose(replayed, launched, atol=_SAME * float(launched.abs().max()), rtol=0):
            graphs.give_up(*graphs.sizes, why="a graph gives something else than launching")

    def _replay(self, graphs: PrefillCudaGraphs, size: GraphBucket) -> Any:
        self._batch = graphs.put(self._batch, size)
        return graphs.run(size, self._launch)

    def _launch(self) -> Any:
        # Copies, as what a tensor is a part of, and where in it, are reasons to compile anew.
        plain = {name: self._batch[name].clone() for name in ("input_ids", "position_ids")}
        # Whatever counts prompts would be another shape for a single one. Single tokens are a step by pages.
        return self._body(**plain, attention_mask=self._batch["attention_mask"], cache=self, use_cache=False)

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
        return varlen_attention(query, key, value, scale=scale, **laid)


def compile_prefill(model: Any) -> Callable[..., Any]:
    """Let the body of `model`, without its head, run compiled where its cache is Prompts, which takes what returns."""
    body = model.base_model
    usual = body.forward

    def forward(*args: Any, **kwargs: Any) -> Any:
        prompts = kwargs.get("cache")
        return prompts.run() if isinstance(prompts, CompiledPrefill) else usual(*args, **kwargs)

    body.forward = forward
    compiled: Callable[..., Any] = torch.compile(usual, dynamic=True)
    return compiled
