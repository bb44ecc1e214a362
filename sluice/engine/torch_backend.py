"""A checkpoint on a torch device, in full or reduced precision. It runs everywhere torch does."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor

from sluice.engine.checkpoint import Checkpoint
from sluice.engine.cores import granted_cores
from sluice.engine.description import describe
from sluice.engine.model import OUTPUT_NAMES, load_model
from sluice.engine.pipeline import CPU_OVERHEAD_TOKENS, Pipeline
from sluice.engine.warm_up import warm_up
from sluice.errors import InvalidRequest
from sluice.worker.backend import Item, ModelSpec, Output

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16, "mixed": torch.float32}


class TorchBackend:
    """A transformers model with the head of its task. `mixed` keeps fp32 weights and computes in bf16 by autocast.

    Raises InvalidRequest naming the file or field at fault, and MemoryError when the device has no room for the model.
    """

    def __init__(self, spec: ModelSpec, checkpoint: Checkpoint, *, device: torch.device, precision: str) -> None:
        if precision not in DTYPES:
            raise InvalidRequest(f"precision '{precision}' is none of {', '.join(DTYPES)}", field="precision")
        self.checkpoint = checkpoint
        self._device = device
        self._mixed = precision == "mixed"
        on_cpu = device.type == "cpu"
        self.threads = spec.threads or granted_cores()
        self.runtime = "torch"
        if on_cpu:
            torch.set_num_threads(self.threads)
        # An accelerator is kept busier by one large batch than by several without padding.
        self._pipeline = Pipeline(checkpoint, overhead=CPU_OVERHEAD_TOKENS if on_cpu else None)
        self._output_name = OUTPUT_NAMES[checkpoint.task]
        model = load_model(checkpoint.path, dtype=DTYPES[precision], task=checkpoint.task)
        # Decoders look for a text's last token by the pad token, which is the one that the tokenizer pads with.
        model.config.pad_token_id = checkpoint.tokenizer.pad_token_id
        self._input_names = frozenset(inspect.signature(model.forward).parameters)
        try:
            self._model = model.to(device)
        except torch.OutOfMemoryError as error:
            raise MemoryError(f"{checkpoint.path.name} does not fit into the memory of {device}") from error
        self.variant = describe(spec, checkpoint, device=device.type, precision=precision)

    def warm_up(self) -> None:
        """Run small batches, so that the first request finds kernels and memory ready."""
        warm_up(self, self.checkpoint.path)

    def prepare(self, items: Sequence[Item]) -> Sequence[Item]:
        """Read the texts into tokens."""
        return self._pipeline.prepare(items)

    def execute(self, items: Sequence[Item]) -> list[Output]:
        """Classify or embed, as the checkpoint's task is."""
        return self._pipeline.run(items, self.forward)

    def close(self) -> None:
        """Drop the weights and give device memory back."""
        del self._model
        if self._device.type != "cpu":
            torch.accelerator.empty_cache()

    def forward(self, inputs: dict[str, Tensor]) -> Tensor:
        """The model's output for padded input, as Pipeline has it."""
        taken = {name: tensor.to(self._device) for name, tensor in inputs.items() if name in self._input_names}
        with torch.inference_mode(), self._autocast():
            computed: Tensor = self._model(**taken)[self._output_name]
        return computed

    def _autocast(self) -> AbstractContextManager[object]:
        if self._mixed:
            return torch.autocast(self._device.type, dtype=torch.bfloat16)
        return nullcontext()


def pick_device(name: str) -> torch.device:
    """The device that `name` means; `auto` is the accelerator if there is one, else the CPU.

    Raises InvalidRequest when torch has no such device here.
    """
    if name == "auto":
        accelerator = torch.accelerator.current_accelerator(check_available=True)
        return accelerator if accelerator is not None else torch.device("cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise InvalidRequest(
            f"device '{name}' cannot be used: {' '.join(str(error).split())}", field="device"
        ) from error
    return device
