"""A distilled copy that cannot be used stops a worker at its start, by the key that names it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.integration.test_configuration import complaint


@pytest.mark.parametrize(
    ("distilled", "problem"),
    [("missing", "there is no checkpoint directory"), ("../outside", "leads out of the model root")],
)
async def test_a_copy_that_is_not_there(tmp_path: Path, distilled: str, problem: str) -> None:
    (tmp_path / "models").mkdir()
    entry = {"model": "m", "tier": "full", "checkpoint": "identity", "distilled": distilled}
    section = {"listen": "127.0.0.1:0", "models_root": str(tmp_path / "models"), "models": [entry]}
    said = await complaint("gpu_worker", tmp_path, {"gpu_worker": section})
    assert said.startswith("models.0.distilled: ")
    assert problem in said
