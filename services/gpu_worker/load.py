"""How the GPU worker turns a checkpoint into a backend: by torch, on the accelerator if there is one."""

from __future__ import annotations

from sluice.worker.backend import Backend, ModelSpec
from sluice.worker.generator import Generator


def load(spec: ModelSpec, *, device_name: str) -> Backend | Generator:
    """Open `spec` on `device_name` ("auto": the accelerator, else the CPU), bf16 on an accelerator, fp32 on a CPU.

    What another process writes is left to it. Raises InvalidRequest naming the file or field at fault.
    """
    if spec.openai is not None:
        from sluice.engine.openai.generator import OpenAIGenerator

        return OpenAIGenerator(spec, spec.openai)

    from sluice.engine.checkpoint import open_checkpoint
    from sluice.engine.torch_backend import TorchBackend, pick_device

    device = pick_device(device_name)
    checkpoint = open_checkpoint(spec.checkpoint)
    precision = spec.precision or ("fp32" if device.type == "cpu" else "bf16")
    return TorchBackend(spec, checkpoint, device=device, precision=precision)
