"""What all tests of the writing loop share."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest


@pytest.fixture(scope="module", autouse=True)
def _loops_end_here() -> Iterator[None]:
    """transformers' loop asks for its device when it is collected, and a later test may have put another in place."""
    yield
    gc.collect()
