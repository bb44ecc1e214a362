"""A CPU that is taken for an accelerator: each step is prepared before anybody has looked at the one before it.

It computes at once, but hands its results over as late as an accelerator does.
"""

from __future__ import annotations

from typing import Any

import pytest
from transformers.generation.continuous_batching import input_outputs

from sluice.engine.generation import continuous_batching as writer


class _Stream:
    def record_event(self, event: Any) -> None:
        del event

    def wait_event(self, event: Any) -> None:
        del event

    def synchronize(self) -> None:
        pass


class _Pair(input_outputs.HostDeviceIOPair):  # type: ignore[misc]
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.h2d_over = self.compute_over = self.d2h_over = _Stream()


def prepare_ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let all loops that are made in this test prepare their steps ahead."""
    monkeypatch.setattr(writer, "_ASYNCHRONOUS", {"cpu"})
    monkeypatch.setattr(input_outputs.ContinuousBatchingAsyncIOs, "_supported_device_types", ("cpu",))
    monkeypatch.setattr(input_outputs, "create_device_stream", lambda device: _Stream())
    monkeypatch.setattr(input_outputs, "HostDeviceIOPair", _Pair)
