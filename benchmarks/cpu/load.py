"""Load through the mesh: all of some texts over one InferStream, as our own client sends them."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence

from benchmarks.cpu.texts import texts_of
from benchmarks.length_mix import lengths
from sluice.client.query import Query
from sluice.client.sync import Client
from sluice.domain.errors import SluiceError

OPEN = 512
"""Texts that are open at a time: four of the largest batches, so that the worker never waits for one."""
TIMEOUT_S = 120.0
MOST = 8192
"""The most texts of one measurement, however fast the machine is."""


def texts_per_s(router: str, texts: Sequence[str]) -> float:
    """Send all texts, at most OPEN at a time; texts per second from the first one sent to the last one answered.

    Raises the SluiceError of the first text that fails.
    """
    queries = [Query(text=text, truncate=True) for text in texts]
    with Client(router, timeout_s=TIMEOUT_S) as client:
        begun_at = time.perf_counter()
        for outcome in client.infer_many(queries, max_open=OPEN):
            if isinstance(outcome, SluiceError):
                raise outcome
        return len(queries) / (time.perf_counter() - begun_at)


def mixed_texts(count: int) -> list[str]:
    """Texts of mixed lengths; the first of them are always the same."""
    return texts_of(lengths(random.Random(4), count), random.Random(5))


def texts_for(router: str, *, seconds: float, least: int) -> list[str]:
    """So many mixed texts that the mesh behind `router` takes about `seconds` for them; it is warm afterwards."""
    probe = mixed_texts(least)
    texts_per_s(router, probe)
    return mixed_texts(min(MOST, max(least, round(seconds * texts_per_s(router, probe)))))
