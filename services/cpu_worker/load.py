"""How the CPU worker turns a checkpoint into a backend: quantized as an ONNX graph, everything else by torch."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from sluice.domain.enums import Task, Tier
from sluice.domain.errors import InvalidRequest
from sluice.worker.execution.backend import Backend, ModelSpec
from sluice.worker.execution.generator import GenerationEngine


def load(spec: ModelSpec, *, cache: str) -> Backend | GenerationEngine:
    """Open `spec` on the CPU. The quantized tier computes in int8, or in int4 if the checkpoint brings only that along.

    A packed file of tools/quantize.py is unpacked into `cache`, and computes as it was quantized in whatever tier.
    Raises InvalidRequest naming the file or field at fault.
    """
    import torch

    from sluice.compression.package import unpack
    from sluice.compression.shipped import INT4, int4_graph, shipped_precisions
    from sluice.engine.checkpoint.checkpoint import open_checkpoint
    from sluice.engine.encoder.torch_backend import TorchBackend
    from sluice.engine.onnx.backend import INT8, OnnxBackend

    kept = Path(cache)
    packed = spec.checkpoint.is_file()
    directory = unpack(spec.checkpoint, kept) if packed else spec.checkpoint
    checkpoint = open_checkpoint(directory)
    if checkpoint.task is Task.TEXT_GENERATION:
        from sluice.engine.generation.engine import load_engine

        spec = replace(spec, checkpoint=directory)
        return load_engine(spec, checkpoint, device=torch.device("cpu"), precision=spec.precision or "fp32")
    shipped = shipped_precisions(checkpoint.path)
    quantized = packed or spec.tier is Tier.QUANTIZED
    precision = spec.precision or ((*shipped, INT8)[0] if quantized else "fp32")
    if packed and precision not in shipped:
        problem = f"{spec.checkpoint.name} holds weights in {' and '.join(shipped) or 'no precision'}, not {precision}"
        raise InvalidRequest(problem, field="precision")
    spec = replace(spec, checkpoint=directory)
    if precision == INT8:
        return OnnxBackend(spec, checkpoint, cache=kept)
    if precision == INT4:
        return OnnxBackend(spec, checkpoint, cache=kept, precision=INT4, graph=int4_graph(checkpoint))
    return TorchBackend(spec, checkpoint, device=torch.device("cpu"), precision=precision)
