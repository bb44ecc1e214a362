"""The GPU benchmarks' report and command: what is shown, what is kept, and what an environment must have."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from benchmarks.figure import Figure, Target

pytest.importorskip("torch")

from benchmarks.gpu import program
from benchmarks.gpu.bench import Bench, Part
from benchmarks.gpu.report import Report

pytestmark = [pytest.mark.torch, pytest.mark.timeout(300)]
ROOT = Path(__file__).resolve().parents[3]
TARGET = Target(4.0)
MACHINE = {"processor": "a processor", "accelerator": "an accelerator"}
# What a machine that is lent for measuring need not have.
FOREIGN = ("grpc", "opentelemetry", "pydantic", "uvloop", "openvino", "onnxruntime", "sklearn", "services", "sluice.v1")


def figure(measured: float = 5.0, target: Target | None = TARGET) -> Figure:
    return Figure(what="speed", target=target, measured=measured, how="by hand")


def report(**changes: Any) -> Report:
    facts: dict[str, Any] = {
        "title": "Full tier",
        "command": "python -m x",
        "machine": MACHINE,
        "versions": {"torch": "2"},
        "scale": "full",
        "figures": {"speed": [figure()]},
    }
    return Report(**(facts | changes))


def parts_of(file: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))["parts"]
    return content


def test_the_table_tells_of_targets_met_missed_not_set_and_of_what_failed() -> None:
    figures = {"a": [figure(), figure(3.0), figure(7.0, None)]}
    shown = io.StringIO()
    Console(width=120, file=shown).print(report(figures=figures, failures={"memory": "RuntimeError: no"}).table())
    lines = [line.split() for line in shown.getvalue().splitlines()]
    assert ["Full", "tier,", "full,", "an", "accelerator"] in lines
    assert ["speed", "≥", "4", "5.00", "yes"] in lines
    assert ["speed", "≥", "4", "3.00", "no"] in lines
    assert ["speed", "7.00"] in lines
    assert ["memory", "failed"] in lines


def test_each_part_says_by_which_command_and_where_it_was_measured(tmp_path: Path) -> None:
    file = tmp_path / "gpu.json"
    report().write(file)
    other = report(command="python -m y", machine={"processor": "another"}, figures={"size": [figure()]})
    other.write(file)
    parts = parts_of(file)
    assert (parts["speed"]["command"], parts["size"]["command"]) == ("python -m x", "python -m y")
    assert (parts["speed"]["machine"], parts["size"]["machine"]) == (MACHINE, {"processor": "another"})
    assert parts["speed"]["figures"] == [figure().content()]


def test_a_part_that_fails_has_no_figures_of_an_earlier_run(tmp_path: Path) -> None:
    file = tmp_path / "gpu.json"
    report().write(file)
    report(figures={}, failures={"speed": "RuntimeError: no"}).write(file)
    assert "figures" not in parts_of(file)["speed"]
    assert parts_of(file)["speed"]["failed"] == "RuntimeError: no"


def test_figures_of_a_smoke_never_stand_beside_real_ones(tmp_path: Path) -> None:
    file = tmp_path / "gpu.json"
    report().write(file)
    report(scale="smoke", figures={"size": [figure()]}).write(file)
    assert parts_of(file).keys() == {"size"}


def test_a_part_that_fails_costs_the_others_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def fail(_: Bench) -> list[Figure]:
        raise RuntimeError("no memory")

    parts: dict[str, Part] = {"broken": fail, "whole": lambda bench: [figure()]}
    file = tmp_path / "gpu.json"
    arguments = ["--smoke", "--device", "cpu", "--output", str(file)]
    assert program.run("gpu", "doc", parts, title="T", arguments=arguments) == 1
    assert parts_of(file)["broken"]["failed"] == "RuntimeError: no memory"
    assert parts_of(file)["whole"]["command"] == f"python -m benchmarks.gpu {' '.join(arguments)}"
    assert program.run("gpu", "doc", parts, title="T", arguments=[*arguments, "--only", "whole"]) == 0
    assert "no memory" in capsys.readouterr().err


def test_a_cpu_is_asked_for_a_smoke_only(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        program.run("gpu", "doc", {}, title="T", arguments=["--device", "cpu"])
    assert caught.value.code == 2
    assert "--smoke" in capsys.readouterr().err


def test_neither_benchmark_needs_what_serves() -> None:
    script = (
        "import sys, benchmarks.gpu.__main__, benchmarks.mixed_precision\n"
        f"print([name for name in {FOREIGN!r} if name in sys.modules])"
    )
    ended = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (ended.stdout.strip(), ended.returncode) == ("[]", 0), ended.stderr
