"""How these tests compute."""

from __future__ import annotations

from importlib.util import find_spec

import pytest


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """Threads that wait for each other on busy cores take longer than one alone."""
    if find_spec("torch"):
        import torch

        torch.set_num_threads(1)
