"""How the CPU worker turns a checkpoint into a backend: int8 by ONNX Runtime, everything else by torch."""

from __future__ import annotations

from pathlib import Path

from sluice.tier import Tier
from sluice.worker.backend import Backend, ModelSpec


def load(spec: ModelSpec, *, cache: str) -> Backend:
    """Open `spec` on the CPU. The quantized tier computes in int8 unless the spec says otherwise.

    Raises InvalidRequest naming the file or field at fault.
    """
    import torch

    from sluice.engine.checkpoint import open_checkpoint
    from sluice.engine.onnx_backend import INT8, OnnxBackend
    from sluice.engine.torch_backend import TorchBackend

    checkpoint = open_checkpoint(spec.checkpoint)
    precision = spec.precision or (INT8 if spec.tier is Tier.QUANTIZED else "fp32")
    if precision == INT8:
        return OnnxBackend(spec, checkpoint, cache=Path(cache).expanduser())
    return TorchBackend(spec, checkpoint, device=torch.device("cpu"), precision=precision)
