"""A checkpoint on a torch device, in full or reduced precision. It runs everywhere torch does."""

from __future__ import annotations

import inspect
from collections.abc import Sequence

import torch
from torch import Tensor

from sluice.engine.accelerator import computes
from sluice.engine.checkpoint.checkpoint import Checkpoint, describe
from sluice.engine.checkpoint.errors import is_out_of_memory, one_line
from sluice.engine.checkpoint.model import OUTPUT_NAMES
from sluice.engine.encoder.pipeline import CPU_OVERHEAD_TOKENS, Pipeline, warm_up
from sluice.engine.precision.loader import inference_ctx, load_precise
from sluice.engine.precision.quantizers import held_bytes
from sluice.runtime.cpu import granted_cores
from sluice.worker.execution.backend import Item, ModelSpec, Output


class TorchBackend:
    """A transformers model with the head of its task, in a precision of `precise`.

    Raises InvalidRequest naming the file or field at fault, and MemoryError when the device has no room for the model.
    """

    def __init__(self, spec: ModelSpec, checkpoint: Checkpoint, *, device: torch.device, precision: str) -> None:
        self.checkpoint = checkpoint
        self._device = device
        self._precision = precision
        on_cpu = device.type == "cpu"
        self.threads = spec.threads or granted_cores()
        self.runtime = "torch"
        if on_cpu:
            torch.set_num_threads(self.threads)
        # An accelerator is kept busier by one large batch than by several without padding.
        self._pipeline = Pipeline(checkpoint, overhead=CPU_OVERHEAD_TOKENS if on_cpu else None)
        self._output_name = OUTPUT_NAMES[checkpoint.task]
        self._model = load_precise(checkpoint.path, precision=precision, device=device, task=checkpoint.task)
        # Decoders look for a text's last token by the pad token, which is the one that the tokenizer pads with.
        self._model.config.pad_token_id = checkpoint.tokenizer.pad_token_id
        self._input_names = frozenset(inspect.signature(self._model.forward).parameters)
        self.held_bytes = held_bytes(self._model)
        self.variant = describe(spec, checkpoint, device=device.type, precision=precision)

    def warm_up(self) -> None:
        """Run small batches, so that the first request finds kernels and memory ready."""
        warm_up(self, self.checkpoint.path)

    def prepare(self, items: Sequence[Item]) -> Sequence[Item]:
        """Read the texts into tokens."""
        return self._pipeline.prepare(items)

    def execute(self, items: Sequence[Item]) -> list[Output]:
        """Classify or embed, as the checkpoint's task is."""
        try:
            return self._pipeline.run(items, self.forward)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            out_of_memory = MemoryError(one_line(error))
        # Behind the handler, whose traceback would keep what was computed in memory.
        self._empty_cache()
        raise out_of_memory

    def is_device_lost(self) -> bool:
        """Whether the device does not so much as add one and one."""
        return not computes(self._device)

    def close(self) -> None:
        """Drop the weights and give device memory back."""
        del self._model
        self._empty_cache()

    def _empty_cache(self) -> None:
        if self._device.type != "cpu":
            torch.accelerator.empty_cache()

    def forward(self, inputs: dict[str, Tensor]) -> Tensor:
        """The model's output for padded input, as Pipeline has it."""
        taken = {name: tensor.to(self._device) for name, tensor in inputs.items() if name in self._input_names}
        with inference_ctx(self._precision):
            computed: Tensor = self._model(**taken)[self._output_name]
        return computed
