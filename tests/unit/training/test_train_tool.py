"""tools/train_demo_models.py as a program: a smoke run makes everything, and never at the price of what is shipped.

The tool runs as a copy in a directory of its own, whose models/ and examples/ are then the ones at stake.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch")

pytestmark = pytest.mark.torch
ROOT = Path(__file__).resolve().parents[3]
# One thread: on busy cores several would wait for each other.
ENVIRON = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "COLUMNS": "120"}


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A checkout in miniature: the tool, a shipped model and the shipped requests."""
    home = tmp_path / "checkout"
    (home / "tools").mkdir(parents=True)
    shutil.copy(ROOT / "tools" / "train_demo_models.py", home / "tools")
    for file in ("models/support-intent-full/config.json", "examples/requests.jsonl"):
        (home / file).parent.mkdir(parents=True)
        (home / file).write_text("shipped")
    return home


def run(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(home / "tools" / "train_demo_models.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=ENVIRON, cwd=home, check=False)


def assert_untouched(home: Path) -> None:
    assert (home / "models" / "support-intent-full" / "config.json").read_text() == "shipped"
    assert (home / "examples" / "requests.jsonl").read_text() == "shipped"


@pytest.mark.parametrize(
    "out", [[], ["--out", "models"], ["--out", "models/../models"]], ids=["default", "named", "dots"]
)
def test_a_smoke_run_refuses_to_overwrite_the_shipped_models(home: Path, out: list[str]) -> None:
    ended = run(home, "--quick", "--requests", "elsewhere.jsonl", *out)
    assert ended.returncode == 2
    assert ended.stderr == "--quick would overwrite the trained models: name another directory with --out\n"
    assert_untouched(home)


def test_a_smoke_run_refuses_to_overwrite_the_shipped_requests(home: Path) -> None:
    ended = run(home, "--quick", "--only", "examples", "--out", "elsewhere")
    assert ended.returncode == 2
    assert ended.stderr.count("\n") == 1
    assert "--requests" in ended.stderr
    assert_untouched(home)


def test_help_comes_without_importing_torch(home: Path) -> None:
    command = [sys.executable, "-X", "importtime", str(home / "tools" / "train_demo_models.py"), "--help"]
    ended = subprocess.run(command, capture_output=True, text=True, env=ENVIRON, check=True)
    assert "--measure-only" in ended.stdout
    assert "torch" not in ended.stderr


def test_fresh_messages_are_written_for_distilling(home: Path, tmp_path: Path) -> None:
    file = tmp_path / "mails.jsonl"
    ended = run(home, "--only", "texts", "--texts", str(file))
    assert ended.returncode == 0, ended.stderr
    rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    assert len(rows) == 20_000
    assert {row["complexity"] for row in rows} == set(range(8))
    assert all(row["text"] and row["label"] for row in rows)
    assert run(home, "--only", "texts").returncode == 2
    assert_untouched(home)


def test_a_device_that_is_not_there_is_told_of(home: Path, tmp_path: Path) -> None:
    ended = run(home, "--quick", "--only", "full", "--device", "nowhere", "--out", str(tmp_path / "out"))
    assert ended.returncode == 1
    assert "--device: device 'nowhere' cannot be used" in ended.stderr
    assert_untouched(home)


def test_help_names_the_precisions_that_training_knows(home: Path) -> None:
    from sluice.training.precision import AUTO, PRECISIONS

    assert f"--precision {{{','.join((AUTO, *PRECISIONS))}}}" in run(home, "--help").stdout


def test_a_taught_model_needs_its_teacher(home: Path, tmp_path: Path) -> None:
    (home / "models" / "support-intent-full" / "config.json").unlink()
    ended = run(home, "--quick", "--only", "light", "--device", "cpu", "--out", str(tmp_path / "out"), "--workers", "1")
    assert ended.returncode == 1
    assert ended.stderr.endswith("make that first\n")
    assert "support-intent-light learns from support-intent-full, which is not in" in ended.stderr


@pytest.mark.timeout(300)
def test_one_taught_model_learns_from_the_shipped_teacher(home: Path, tmp_path: Path) -> None:
    shutil.copytree(
        ROOT / "models" / "support-intent-full", home / "models" / "support-intent-full", dirs_exist_ok=True
    )
    out = tmp_path / "out"
    common = ["--quick", "--only", "light", "--device", "cpu", "--out", str(out), "--workers", "1"]
    ended = run(home, *common, "--precision", "bf16")
    assert ended.returncode == 0, ended.stderr
    assert "steps on cpu in bf16 took" in ended.stdout
    assert [path.name for path in out.iterdir()] == ["support-intent-light"]
    made = out / "support-intent-light"
    assert json.loads((made / "quality.json").read_text(encoding="utf-8"))["teacher"] == "support-intent-full"
    assert "what `support-intent-full` says of them" in (made / "README.md").read_text(encoding="utf-8")
    assert "cosine decay, bf16 autocast on a CPU," in (made / "README.md").read_text(encoding="utf-8")
    # Whoever measures again need not name what it was trained in.
    ended = run(home, *common, "--measure-only")
    assert ended.returncode == 0, ended.stderr
    assert "cosine decay, bf16 autocast on a CPU," in (made / "README.md").read_text(encoding="utf-8")
    shipped = home / "models" / "support-intent-full" / "tokenizer.json"
    assert json.loads((made / "tokenizer.json").read_text()) == json.loads(shipped.read_text())


@pytest.mark.timeout(300)
def test_a_smoke_run_makes_models_cards_and_requests(home: Path, tmp_path: Path) -> None:
    from services.cpu_worker.load import load as cpu_load
    from sluice.domain.enums import Tier
    from sluice.worker.execution.backend import Classification, Item, ModelSpec

    out, requests = tmp_path / "models", tmp_path / "requests.jsonl"
    ended = run(home, "--quick", "--device", "cpu", "--out", str(out), "--requests", str(requests), "--workers", "1")
    assert ended.returncode == 0, ended.stderr
    assert ended.stderr == ""
    assert len(requests.read_text(encoding="utf-8").splitlines()) == 360
    assert_untouched(home)
    for tier in (Tier.FULL, Tier.LIGHT, Tier.QUANTIZED):
        made = out / f"support-intent-{tier.label}"
        card = json.loads((made / "quality.json").read_text(encoding="utf-8"))
        assert (len(card["quality_by_complexity"]), sum(card["examples_by_complexity"])) == (8, 128)
        assert f"# support-intent-{tier.label}\n" in (made / "README.md").read_text(encoding="utf-8")
        spec = ModelSpec(model="mine", tier=tier, checkpoint=made, threads=1)
        (output,) = cpu_load(spec, cache=str(tmp_path / "cache")).execute([Item("where is my parcel?")])
        assert isinstance(output, Classification)
    assert not (tmp_path / "cache").exists(), "the quantized model brings its graph"
    for name in ("support-chat-full", "support-chat-light"):
        card = json.loads((out / name / "quality.json").read_text(encoding="utf-8"))
        assert card["seen_examples"] + card["held_out_examples"] == 18
        assert card.get("teacher") == ("support-chat-full" if name == "support-chat-light" else None)
        assert f"# {name}\n" in (out / name / "README.md").read_text(encoding="utf-8")
