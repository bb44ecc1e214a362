"""One step of the device: transformers' own, but that steps of prompts have graphs of ours, and no number is told."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor
from transformers.generation.continuous_batching.continuous_api import ContinuousBatchProcessor
from transformers.generation.continuous_batching.input_outputs import (
    ContinuousBatchingAsyncIOs,
    ContinuousBatchingIOs,
)
from transformers.generation.continuous_batching.model_runner import ModelRunner
from transformers.generation.continuous_batching.utils import (
    CudaGraphBuffer,
    accelerator_graph_capture_context,
    create_accelerator_graph,
    memory_pool_context,
    stream_context,
)

from sluice.engine.generation.attention.paged import PagedCacheView
from sluice.engine.generation.attention.varlen import has_flash
from sluice.engine.generation.kv_cache import LatentKVAllocator, LayeredKVAllocator
from sluice.engine.generation.prefill import CompiledPrefill
from sluice.engine.generation.prefill_graphs import PrefillCudaGraphs
from sluice.engine.generation.sampler import NO_TOKEN, Sampler, SamplingMode

# A product of one row keeps pace with memory only as a reduction, of a shape that is found by trying: a minute more.
_LONE: dict[str, Any] = {"coordinate_descent_tuning": True}


class PagedModelRunner(ModelRunner):
    """Captures a graph for each size of a step and kind of draw, and of prompts for some sizes of their body.

    `prompts_body`: that of the model as `compile_prompts` gave it; None: nothing is compiled.
    """

    def __init__(
        self, processor: ContinuousBatchProcessor, samplers: Sampler, *, prompts_body: Callable[..., Any] | None
    ) -> None:
        super().__init__(
            logit_processor=samplers,
            cb_config=processor.cb_config,
            inputs_and_outputs=processor.inputs_and_outputs,
            cache=processor.cache,
            do_sample=False,
            return_logprobs=False,
        )
        self._samplers = samplers
        self._graphs: dict[tuple[int, SamplingMode], CudaGraphBuffer] = {}
        self._compiles = prompts_body is not None
        (allocator,) = processor.cache.cache_allocators.values()
        are_latent = isinstance(allocator, LatentKVAllocator)
        # Of prompts latents are written before they are expanded to what attention takes: not in one operator.
        self._prompts = None
        if prompts_body is not None and not are_latent:
            self._prompts = CompiledPrefill(processor.cache, prompts_body, self._graphs_of_prompts(allocator))
        self._decoders: dict[bool, Callable[..., Any]] = {}
        views = {layer: allocator.get_cache_for_block_table(layer) for layer in allocator.layer_indices}
        waste = allocator.write_trash_index // allocator.tokens_per_page
        self._pages = PagedCacheView(views, waste=waste, are_latent=are_latent)

    @torch.no_grad()
    def warmup(self, model: Any) -> None:
        """As transformers has it, and capture what there is to capture of prompts."""
        # Whoever compiles collects garbage, and a graph must not be freed while another one's memory is laid out.
        gc.collect()
        super().warmup(model)
        if self._prompts is not None:
            with stream_context(self.inputs_and_outputs.compute_stream):
                self._prompts.warm_up()

    def maybe_pad_inputs(self, num_q_tokens: int, max_kv_read: int, use_decode_fast_path: bool) -> tuple[int, int]:
        """Pad steps of single tokens to a power of two, if graphs are replayed."""
        self.pad_inputs = use_decode_fast_path and self.use_cuda_graph_decode
        sizes: tuple[int, int] = super().maybe_pad_inputs(num_q_tokens, max_kv_read, use_decode_fast_path)
        return sizes

    def compute_batch(self, model: Any, batch_data: dict[str, Any]) -> None:
        """Run or replay the step."""
        io = self._device_io()
        io.graphs = self._graphs.setdefault((id(io), self._samplers.draw), CudaGraphBuffer())
        super().compute_batch(model, batch_data)

    def _forward_process_and_sample(
        self,
        model: Any,
        batch_data: dict[str, Any],
        carry_over_ids: Tensor,
        prev_output_ids: Tensor,
        output_ids: Tensor,
    ) -> None:
        table = batch_data["block_table"]
        if table is not None:
            # Made here, so that a graph that is captured makes it too.
            (cu_seq_lens_k,) = batch_data["cu_seq_lens_k"].values()
            step = self._pages.step(cu_seq_lens_k, table[0])
            batch_data = {**batch_data, "cache": self._pages, "page_step": step}
            model = self._decoder_of(model, texts=table.shape[1])
        elif self._prompts is not None:
            batch_data = self._prompts.take(batch_data)
        super()._forward_process_and_sample(model, batch_data, carry_over_ids, prev_output_ids, output_ids)

    def _graphs_of_prompts(self, allocator: LayeredKVAllocator) -> PrefillCudaGraphs | None:
        device = allocator.cache_tensor.device
        # Text by text a CPU has to know where each one lies, which is not in a graph.
        if not (self.use_cuda_graph_decode and has_flash(allocator.head_dim, allocator.cache_dtype, device)):
            return None
        return PrefillCudaGraphs(
            most_tokens=self.cache.max_batch_tokens,
            waste=allocator.write_trash_index,
            blank_slot=allocator.read_trash_index,
            device=device,
            capture=partial(
                _captured,
                stream=self.inputs_and_outputs.compute_stream,
                memory=self.mem_pool,
                pool=self.graph_pool_id,
            ),
        )

    def _capture_graph(self, forward_fn: Callable[..., None], compute_stream: Any, *args: Any) -> None:
        with _nothing_collected():
            super()._capture_graph(forward_fn, compute_stream, *args)

    def _decoder_of(self, model: Any, *, texts: int) -> Callable[..., Any]:
        if not self._compiles:
            return model
        is_lone = texts == 1
        if is_lone not in self._decoders:
            # Half of a small step is the time of hundreds of kernels that each do next to nothing. All larger steps
            # share what is compiled: what depends on their number is one operator.
            options = _LONE if is_lone else None
            self._decoders[is_lone] = torch.compile(model, options=options, dynamic=not is_lone)
        return self._decoders[is_lone]

    def _sample(self, scores: Tensor, output_ids: Tensor) -> None:
        """Take the largest score of each text, or NO_TOKEN where a score is no number."""
        largest, tokens = scores[0].max(dim=-1)
        tokens = torch.where(largest.isfinite(), tokens, NO_TOKEN)
        output_ids[0, : tokens.size(0)].copy_(tokens)

    def _device_io(self) -> ContinuousBatchingIOs:
        io = self.inputs_and_outputs
        return io.io_pairs[io.current_pair].device_io if isinstance(io, ContinuousBatchingAsyncIOs) else io


def _captured(step: Callable[[], None], *, stream: Any, memory: Any, pool: Any) -> Callable[[], None]:
    """Run `step`, capture it, and return what replays it."""
    with _nothing_collected():
        with memory_pool_context(memory):
            step()
        graph = create_accelerator_graph()
        with accelerator_graph_capture_context(graph, stream=stream, pool=pool):
            step()
    replay: Callable[[], None] = graph.replay
    return replay


@contextmanager
def _nothing_collected() -> Iterator[None]:
    """While a graph is captured nothing of another one may be freed, as there is of a model that has just gone."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
