"""Checkpoints that many tests read and none changes, and the repository's own models with the demo's requests."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]


@dataclass(frozen=True, slots=True)
class Demo:
    """The demo's texts and the labels that are right."""

    texts: tuple[str, ...]
    labels: tuple[str, ...]


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """Threads that wait for each other on busy cores take longer than one alone."""
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def tiny_checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A random checkpoint of each architecture."""
    from tests.unit.engine import tiny

    home = tmp_path_factory.mktemp("checkpoints")
    return {name: tiny.write(home / name, name) for name in tiny.ARCHITECTURES}


@pytest.fixture(scope="session")
def int8_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the session's int8 graphs are kept, because making one takes seconds."""
    return tmp_path_factory.mktemp("int8")


@pytest.fixture(scope="session")
def demo() -> Demo:
    """Every request of the demo."""
    lines = (ROOT / "examples" / "requests.jsonl").read_text(encoding="utf-8").splitlines()
    requests = [json.loads(line) for line in lines]
    return Demo(tuple(one["text"] for one in requests), tuple(one["label"] for one in requests))


@pytest.fixture(scope="session")
def models() -> Path:
    """The shipped models."""
    return ROOT / "models"
