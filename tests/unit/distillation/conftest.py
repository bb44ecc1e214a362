"""A teacher that many tests ask and none changes, and texts for it."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """Threads that wait for each other on busy cores take longer than one alone."""
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A DistilBERT of five layers with random weights."""
    from tests.unit.distillation import teachers

    return teachers.write(tmp_path_factory.mktemp("distillation") / "teacher")


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    """240 texts, one a line."""
    from tests.unit.distillation import teachers

    return teachers.write_lines(tmp_path / "texts.txt", teachers.sentences(240))
