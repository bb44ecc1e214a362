"""The contracts by buf's rules: each has comments and good names, and none breaks what clients may rely on."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BUF = ROOT / "node_modules" / ".bin" / "buf"
BASELINE = ROOT / "protos" / "baseline.binpb"
INFERENCE = "protos/sluice/v1/inference_service.proto"

needs_buf = pytest.mark.skipif(not BUF.exists(), reason="npm has not installed buf: make lint-protos does")


def buf(*arguments: str | Path, at: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """What buf says of the contracts in `at`. Whatever it wanted from a network it would not get."""
    nowhere = "http://127.0.0.1:9"
    environ = {**os.environ, "HTTPS_PROXY": nowhere, "HTTP_PROXY": nowhere}
    return subprocess.run([BUF, *arguments], cwd=at, env=environ, capture_output=True, text=True, check=False)


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of the contracts that may be spoiled."""
    shutil.copy(ROOT / "buf.yaml", tmp_path)
    shutil.copytree(ROOT / "protos", tmp_path / "protos")
    return tmp_path


def edit(copy: Path, name: str, old: str, new: str) -> None:
    """Replace `old`, which must stand there once."""
    text = (copy / name).read_text()
    assert text.count(old) == 1
    (copy / name).write_text(text.replace(old, new))


@needs_buf
def test_the_contracts_are_linted_formatted_and_break_nothing() -> None:
    for arguments in (("lint",), ("format", "--diff", "--exit-code"), ("breaking", "--against", BASELINE)):
        result = buf(*arguments)
        assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


@needs_buf
def test_the_baseline_holds_everything_that_the_contracts_have_today() -> None:
    result = buf("breaking", BASELINE, "--against", ".")
    assert (result.returncode, result.stdout) == (0, ""), "the baseline is behind: run make protos"


@needs_buf
@pytest.mark.parametrize(
    ("name", "old", "new", "said"),
    [
        (
            INFERENCE,
            "  bool truncate = 6;\n",
            "",
            'field "6" with name "truncate" on message "InferRequest" was deleted',
        ),
        (INFERENCE, "uint32 top_k = 7;", "uint64 top_k = 7;", 'changed type from "uint32" to "uint64"'),
        (INFERENCE, "string conversation_id = 8;", "string conversation_id = 18;", 'field "8"'),
        (INFERENCE, "optional double priority = 3;\n  // What", "double priority = 3;\n  // What", "cardinality"),
        (
            "protos/sluice/v1/tier.proto",
            "TIER_LIGHT = 2",
            "TIER_LIGHT = 4",
            'enum value "2" on enum "Tier" was deleted',
        ),
        ("protos/sluice/v1/governor_service.proto", "rpc WatchFleet(", "rpc WatchMembers(", 'RPC "WatchFleet"'),
        ("protos/open_inference/grpc_service.proto", "double double_param = 4;", "float double_param = 4;", "type"),
    ],
    ids=["removed", "retyped", "renumbered", "presence", "enum", "rpc", "oip"],
)
def test_what_would_break_a_client_is_refused(copy: Path, name: str, old: str, new: str, said: str) -> None:
    edit(copy, name, old, new)
    result = buf("breaking", "--against", BASELINE, at=copy)
    assert result.returncode != 0
    assert said in result.stdout


@needs_buf
def test_a_new_field_breaks_nobody(copy: Path) -> None:
    edit(copy, INFERENCE, "bool truncate = 6;", "bool truncate = 6;\n  // New.\n  string fresh = 100;")
    result = buf("breaking", "--against", BASELINE, at=copy)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


@needs_buf
@pytest.mark.parametrize("name", sorted(str(path.relative_to(ROOT)) for path in ROOT.glob("protos/**/*.proto")))
def test_a_field_without_a_comment_is_refused(copy: Path, name: str) -> None:
    text = (copy / name).read_text()
    bare = re.sub(r"^(?: +//[^\n]*\n)+(?= +[\w.]+ \w+ = 1;| +[A-Z_]+ = 0;)", "", text, count=1, flags=re.MULTILINE)
    assert bare != text
    (copy / name).write_text(bare)
    result = buf("lint", at=copy)
    assert result.returncode != 0
    assert "should have a non-empty comment for documentation" in result.stdout


def test_buf_is_pinned_and_its_lock_file_names_no_registry() -> None:
    lock = (ROOT / "package-lock.json").read_text()
    wanted = json.loads((ROOT / "package.json").read_text())["devDependencies"]
    locked = json.loads(lock)["packages"]
    assert all(locked[f"node_modules/{name}"]["version"] == version for name, version in wanted.items())
    assert all("integrity" in package for name, package in locked.items() if name)
    assert "resolved" not in lock
    assert "://" not in lock
