"""A step of thousands of kernels as one launch, where the device records graphs."""

from __future__ import annotations

from collections.abc import Callable

import torch

from benchmarks.gpu.device import warm


def can_capture(device: torch.device) -> bool:
    """Whether torch records graphs of this device."""
    return hasattr(torch.get_device_module(device), "CUDAGraph")


class Graph:
    """`step`, which reads and writes the same tensors every time, recorded once and replayed at every call."""

    def __init__(self, step: Callable[[], object], device: torch.device) -> None:
        module = torch.get_device_module(device)
        # What was cached for other steps is of no use within a graph, which has a pool of its own.
        torch.accelerator.empty_cache()
        aside = module.Stream(device)
        aside.wait_stream(module.current_stream(device))
        with module.stream(aside):
            warm(step, device)
        module.current_stream(device).wait_stream(aside)
        self._graph = module.CUDAGraph()
        with module.graph(self._graph):
            step()
        # The graph knows addresses; what lies there is held by the step.
        self._step = step
        # The first replay carries the graph to the device.
        self()
        torch.accelerator.synchronize(device)

    def __call__(self) -> None:
        """Take the step once more."""
        self._graph.replay()
