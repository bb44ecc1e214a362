"""How the GPU worker reads its accelerator: memory through torch, utilisation through the vendor's own library."""

from __future__ import annotations

from importlib.util import find_spec


class TorchAccelerator:
    """The device that `load` computes on. Raises InvalidRequest when torch has no such device here."""

    def __init__(self, device_name: str) -> None:
        import torch

        from sluice.engine.torch_backend import pick_device

        self._torch = torch
        self._device = pick_device(device_name)
        # torch asks NVIDIA's and AMD's driver through packages that it does not bring along.
        library = "amdsmi" if torch.version.hip else "pynvml"
        self._is_told = self._device.type == "cuda" and find_spec(library) is not None

    def memory_bytes(self) -> tuple[float, float]:
        """Free, and in all; other programs' use of the device counts as not free."""
        free, total = self._torch.accelerator.get_memory_info(self._device)
        return free, total

    def reusable_bytes(self) -> float:
        """What torch's caching allocator holds for its next tensors."""
        accelerator = self._torch.accelerator
        reserved, allocated = accelerator.memory_reserved(self._device), accelerator.memory_allocated(self._device)
        return float(reserved - allocated)

    def utilization(self) -> float | None:
        """The share of time with any kernel running, if the vendor's library is there to ask."""
        return self._torch.cuda.utilization(self._device) / 100 if self._is_told else None
