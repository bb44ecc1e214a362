"""The GPU worker's settings: section `gpu_worker` of the configuration."""

from __future__ import annotations

from pydantic import Field

from sluice.domain.enums import PrecisionMode
from sluice.runtime.config import Address, also_read_from
from sluice.worker.config import WorkerConfig


class GpuWorkerConfig(WorkerConfig):
    """As for every worker, and the device."""

    listen: Address = "127.0.0.1:50061"
    """Where routers call."""
    device: str = Field(default="auto", pattern=r"^[a-z]+(:\d+)?$")
    """A torch device, or `auto`: the accelerator if there is one, else the CPU."""
    precision_mode: PrecisionMode = Field(
        default=PrecisionMode.AUTO, json_schema_extra=also_read_from("PRECISION_MODE")
    )
    """What models without a precision of their own are held in: full (fp32), mixed (half precision, and fp32 where
    rounding would hurt), fp8, int4, or auto, the best that the device has and that fits its memory."""
