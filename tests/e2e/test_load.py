"""`sluice load` and `sluice plot` as users run them."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.e2e.local_mesh import configuration, up
from tests.e2e.sluice_command import run


@pytest.mark.skipif(find_spec("matplotlib") is None, reason="the plots extra is not installed")
def test_a_load_is_offered_recorded_replayed_and_drawn(tmp_path: Path) -> None:
    env = configuration(tmp_path)
    files = {name: str(tmp_path / name) for name in ("run.json", "run.png", "trace.jsonl", "both.png")}
    with up(tmp_path, env):
        words = ("load", "--rate", "60,120@1", "--spike", "2x@1.5+0.5", "--duration", "2", "--deadline", "20000")
        first = run(
            *words, "--json", files["run.json"], "--plot", files["run.png"], "--record", files["trace.jsonl"], env=env
        )
        assert "offered" in first.stdout, first.stderr
        results = json.loads(Path(files["run.json"]).read_text())
        offered = results["totals"]["all"]["offered"]
        assert results["totals"]["all"]["ok"] == offered > 0
        assert len(Path(files["trace.jsonl"]).read_text().splitlines()) == offered
        again = run("load", "--trace", files["trace.jsonl"], "--deadline", "20000", "--unary", "--no-governor", env=env)
        assert f"OK: {offered:,}" in again.stdout, again.stderr
        shown = run("top", "--once", env=env)
        assert "answered in time" in shown.stdout
    drawn = run("plot", files["run.json"], files["run.json"], "-o", files["both.png"])
    assert (drawn.returncode, drawn.stderr) == (0, "")
    for name in ("run.png", "both.png"):
        assert Path(files[name]).read_bytes().startswith(b"\x89PNG")


def test_without_a_mesh_load_says_where_none_is(tmp_path: Path) -> None:
    env = configuration(tmp_path)
    ended = run("load", "--duration", "1", env=env)
    assert ended.returncode == 1
    assert "sluice load: no router answers at 127.0.0.1:" in ended.stderr
