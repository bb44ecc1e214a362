"""One step of the device: transformers' own, but that only steps of single tokens are padded, and no number is told."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers.generation.continuous_batching.continuous_api import ContinuousBatchProcessor
from transformers.generation.continuous_batching.input_outputs import (
    ContinuousBatchingAsyncIOs,
    ContinuousBatchingIOs,
)
from transformers.generation.continuous_batching.model_runner import ModelRunner
from transformers.generation.continuous_batching.utils import CudaGraphBuffer

from sluice.engine.generation.sampling import NO_TOKEN, Draw, Samplers


class StepRunner(ModelRunner):
    """Captures a graph for each size of a step and each kind of draw, and none for prompts, whose sizes never repeat."""

    def __init__(self, processor: ContinuousBatchProcessor, samplers: Samplers) -> None:
        super().__init__(
            logit_processor=samplers,
            cb_config=processor.cb_config,
            inputs_and_outputs=processor.inputs_and_outputs,
            cache=processor.cache,
            do_sample=False,
            return_logprobs=False,
        )
        self._samplers = samplers
        self._graphs: dict[tuple[int, Draw], CudaGraphBuffer] = {}

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

    def _sample(self, scores: Tensor, output_ids: Tensor) -> None:
        """Take the largest score of each text, or NO_TOKEN where a score is no number."""
        largest, tokens = scores[0].max(dim=-1)
        tokens = torch.where(largest.isfinite(), tokens, NO_TOKEN)
        output_ids[0, : tokens.size(0)].copy_(tokens)

    def _device_io(self) -> ContinuousBatchingIOs:
        io = self.inputs_and_outputs
        return io.io_pairs[io.current_pair].device_io if isinstance(io, ContinuousBatchingAsyncIOs) else io
