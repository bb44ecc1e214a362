"""The GPU worker's settings: section `gpu_worker` of the configuration."""

from __future__ import annotations

from pydantic import Field

from sluice.config import Address
from sluice.worker.config import WorkerConfig


class GpuWorkerConfig(WorkerConfig):
    """As for every worker, and the device."""

    listen: Address = "127.0.0.1:50061"
    """Where routers call."""
    device: str = Field(default="auto", pattern=r"^[a-z]+(:\d+)?$")
    """A torch device, or `auto`: the accelerator if there is one, else the CPU."""
