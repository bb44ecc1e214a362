"""Programs that run beside a benchmark are gone when it is over, whatever became of either."""

from __future__ import annotations

import sys
from pathlib import Path

import psutil
import pytest

from benchmarks.child import child

SLEEP = [sys.executable, "-c", "import time; print('up', flush=True); time.sleep(600)"]


async def test_it_ends_with_the_block(tmp_path: Path) -> None:
    async with child(SLEEP) as process:
        assert psutil.pid_exists(process.pid)
    assert process.returncode is not None


async def test_it_ends_with_a_block_that_fails() -> None:
    with pytest.raises(RuntimeError):
        async with child(SLEEP) as process:
            raise RuntimeError
    assert process.returncode is not None


async def test_one_that_has_ended_by_itself_is_no_fault(tmp_path: Path) -> None:
    log = tmp_path / "logs" / "child.log"
    async with child([sys.executable, "-c", "import os; print(os.getcwd())"], log=log, folder=tmp_path) as process:
        assert await process.wait() == 0
    assert log.read_text(encoding="utf-8").strip() == str(tmp_path)
