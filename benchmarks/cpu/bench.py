"""What all measurements of one run share: its scale, its folders, the thread that computes, its progress."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Protocol, TypeVar

from benchmarks.cpu.scale import Scale
from benchmarks.cpu.shapes import Shape, make_checkpoint
from benchmarks.figure import Figure
from services.cpu_worker.load import load
from sluice.domain.enums import Tier
from sluice.worker.execution.backend import Backend, ModelSpec

ROOT = Path(__file__).resolve().parents[2]
CACHE = ROOT / ".cache" / "bench-cpu"
MODELS = ROOT / "models"
MODEL = "bench"

Result = TypeVar("Result")


class Progress(Protocol):
    """Told of what is being done, and how much of it is: `done` of `total` steps."""

    def __call__(self, stage: str, done: int, total: int) -> None:
        """Called when a stage begins, with 0 done, and after each of its steps."""


class Bench:
    """One run. `scratch` is a folder of its own; checkpoints and graphs are kept in `cache` for the next run."""

    def __init__(self, scale: Scale, *, scratch: Path, progress: Progress, cache: Path) -> None:
        self.scale = scale
        self.scratch = scratch
        self.progress = progress
        self.graphs = cache / "graphs"
        self.checkpoints = cache / "checkpoints"
        # One thread for all that computes here: every thread that calls torch gets helpers of its own.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="bench-compute")

    async def compute(self, work: Callable[[], Result]) -> Result:
        """Do what blocks, behind what this thread is doing already."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    async def checkpoint(self, shape: Shape) -> Path:
        """The directory of a shape's checkpoint, made if there is none."""
        return await self.compute(lambda: make_checkpoint(shape, self.checkpoints))

    async def ready_checkpoint(self, shape: Shape) -> Path:
        """As `checkpoint`, but with the int8 graph that a worker would else make of it: that takes time and memory."""
        directory = await self.checkpoint(shape)
        async with self.engine(directory):
            return directory

    @property
    def worker(self) -> dict[str, Any]:
        """The settings of a worker that serves checkpoints of ours."""
        return {
            "models_root": str(self.checkpoints),
            "cache": str(self.graphs),
            "profile_seconds": self.scale.profile_seconds,
        }

    @asynccontextmanager
    async def engine(self, checkpoint: Path) -> AsyncIterator[Backend]:
        """What the CPU worker serves `checkpoint` with in the quantized tier, in this process and warm."""
        spec = ModelSpec(model=MODEL, tier=Tier.QUANTIZED, checkpoint=checkpoint)
        backend = await self.compute(lambda: load(spec, cache=str(self.graphs)))
        try:
            await self.compute(backend.warm_up)
            yield backend
        finally:
            await self.compute(backend.close)

    async def quantized(self, model: Path, *, bits: int, calibration: Sequence[str] = ()) -> Path:
        """The packed file that `sluice quantize` makes of a checkpoint, calibrated with texts if there are any.

        Made once a run. Raises RuntimeError with what the command said when it fails.
        """
        output = self.scratch / f"{model.name}-int{bits}{'-calibrated' if calibration else ''}.pt"
        if not output.exists():
            command = ["quantize", "--input_model", str(model), "--output_model", str(output), "--bits", str(bits)]
            if calibration:
                texts = output.with_suffix(".txt")
                texts.write_text("\n".join(calibration) + "\n", encoding="utf-8")
                command += ["--calibration", str(texts)]
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "sluice.cli.main", *command),
                cwd=ROOT,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.PIPE,
            )
            _, errors = await process.communicate()
            if process.returncode:
                raise RuntimeError(f"sluice quantize: {errors.decode(errors='replace').strip()}")
        return output


Row = Callable[[Bench], Awaitable[list[Figure]]]
"""Measures what one line of the targets speaks of, which may take several figures."""
