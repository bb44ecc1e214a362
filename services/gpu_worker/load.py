"""How the GPU worker turns a checkpoint into what serves it: by torch, on the accelerator if there is one."""

from __future__ import annotations

from collections.abc import MutableMapping
from pathlib import Path

from sluice.domain.enums import PrecisionMode, Task, held_name
from sluice.worker.execution.backend import Backend, ModelSpec
from sluice.worker.execution.generator import GenerationEngine
from sluice.worker.resources.accelerator import Accelerator

# Where torch keeps what it compiles: with all else that a worker made for itself, so that its next start finds it.


PLACE = "TORCHINDUCTOR_CACHE_DIR"
"""torch's own variable, which is read when something is compiled."""


def keep_compiled(cache: str, environ: MutableMapping[str, str]) -> None:
    """Name a directory under `cache` in `environ`, if none is named yet.

    One that cannot be made is not named: torch, which has a place of its own for a boot's time, would fail there.
    """
    if PLACE in environ:
        return
    place = Path(cache) / "compiled"
    try:
        # What lies here is run.
        place.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError:
        return
    environ[PLACE] = str(place)


def load(spec: ModelSpec, *, device_name: str, mode: PrecisionMode = PrecisionMode.AUTO) -> Backend | GenerationEngine:
    """Open `spec` on `device_name` ("auto": the accelerator, else the CPU), in its own precision or else by `mode`.

    Raises InvalidRequest naming the file or field at fault.
    """
    from sluice.engine.accelerator import pick_device
    from sluice.engine.checkpoint.checkpoint import open_checkpoint
    from sluice.engine.encoder.torch_backend import TorchBackend
    from sluice.engine.generation.engine import load_engine
    from sluice.engine.precision.auto import best_precision

    device = pick_device(device_name)
    checkpoint = open_checkpoint(spec.checkpoint)
    precision = held_name(spec.precision) or mode.held or best_precision(checkpoint.path, device)
    if checkpoint.task is Task.TEXT_GENERATION:
        return load_engine(spec, checkpoint, device=device, precision=precision)
    return TorchBackend(spec, checkpoint, device=device, precision=precision)


def accelerator(device_name: str) -> Accelerator:
    """The device that `load` computes on, to be read. Raises InvalidRequest when torch has no such device here."""
    from sluice.engine.accelerator import TorchAccelerator, pick_device

    return TorchAccelerator(pick_device(device_name))
