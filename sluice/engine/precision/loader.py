"""A checkpoint's transformers model in the precision that is asked for, on the device that computes it."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import torch

from sluice.domain.enums import Task
from sluice.domain.errors import InvalidRequest
from sluice.engine.checkpoint.errors import is_out_of_memory
from sluice.engine.checkpoint.model import load_model
from sluice.engine.precision.half import cast_to_half, half_of
from sluice.engine.precision.quantizers import FP8, INT4, NoQuantizableLayers, quantize, quantizer_of

MIXED = "mixed"
PLAIN = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
PRECISIONS = (*PLAIN, MIXED, FP8, INT4)


def load_precise(
    path: Path, *, precision: str, device: torch.device, task: Task = Task.TEXT_CLASSIFICATION, **options: Any
) -> Any:
    """The model of checkpoint `path` for `task` in `precision`, one of PRECISIONS, on `device`, for `inference_ctx`.

    `fp32`, `bf16` and `fp16` are that throughout; `mixed` is half precision with care, as `half` has it; `fp8` and
    `int4` are `mixed` with the linear layers inside quantized. `options` go to transformers. Raises InvalidRequest,
    field `checkpoint` or `precision`, and MemoryError when the device has no room for the model.
    """
    if precision not in PRECISIONS:
        raise InvalidRequest(f"precision '{precision}' is none of {', '.join(PRECISIONS)}", field="precision")
    quantizer = quantizer_of(precision, device) if precision in {FP8, INT4} else None
    # Half precision is made of the weights as the file has them: what stays in fp32 is not rounded first.
    model = load_model(path, dtype=PLAIN.get(precision, "auto"), task=task, **options)
    try:
        if precision not in PLAIN:
            # torchao's kernels take bf16.
            half = half_of(device) if quantizer is None else torch.bfloat16
            # A language model's head is as large as its embeddings, and often is them: whoever samples widens logits.
            cast_to_half(model, half, head=task is Task.TEXT_CLASSIFICATION)
        if quantizer is not None:
            quantize(model, quantizer, device=device)
        return model.to(device)
    except NoQuantizableLayers as error:
        raise InvalidRequest(f"no layer of {path.name} can be held in {precision}", field="precision") from error
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        raise MemoryError(f"{path.name} does not fit into the memory of {device} in {precision}") from error


def inference_ctx(precision: str) -> AbstractContextManager[Any]:
    """The context in which a model in `precision` is run: nothing is kept for learning.

    torchao's tensors bear torch's inference mode only as long as nobody makes views of them.
    """
    return torch.no_grad() if precision in {FP8, INT4} else torch.inference_mode()
