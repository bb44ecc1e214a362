"""The command line: the documented one as a program, its signals, and one line for everything that it refuses."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from sluice.cli.main import main
from sluice.engine.checkpoint.checkpoint import open_checkpoint
from tests.unit.compression.conftest import ROOT
from tests.unit.distillation import teachers

pytestmark = pytest.mark.torch
# One thread: on busy cores several would wait for each other.
ENVIRON = {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "140"}


def words(teacher: Path, texts: Path, student: Path, *more: str) -> list[str]:
    usual = ["--teacher", str(teacher), "--student", str(student), "--texts", str(texts), "--device", "cpu"]
    return [*usual, "--layers", "2", "--steps", "3", *more]


def test_the_tool_makes_a_student_and_reports(teacher: Path, tmp_path: Path) -> None:
    rows = teachers.labelled(teachers.sentences(120))
    texts = teachers.write_rows(tmp_path / "texts.jsonl", rows)
    examples = teachers.write_rows(tmp_path / "examples.jsonl", rows[:32])
    student = tmp_path / "student"
    command = words(teacher, texts, student, "--evaluate", str(examples), "--hidden", "--max-loss-points", "100")
    done = subprocess.run(
        [sys.executable, str(ROOT / "tools" / "distill.py"), *command],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
        env=ENVIRON,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    for part in (
        "distilbert, 5 layers",
        "accuracy on 32 texts of --evaluate",
        "points",
        "0.875 to 1.000",
        "all, before it",
    ):
        assert part in done.stdout
    assert done.stdout.endswith(f"{student} is ready.\n")
    assert open_checkpoint(student).quality is not None
    assert json.loads((student / "distillation.json").read_text())["training"]["hidden"] == 1.0


def test_a_signal_stops_the_program_and_the_same_command_goes_on(teacher: Path, texts: Path, tmp_path: Path) -> None:
    student, folder = tmp_path / "student", tmp_path / ".student.distilling"
    command = words(teacher, texts, student, "--steps", "4000", "--save-seconds", "0.01")
    program = [sys.executable, "-m", "sluice.cli.main", "distill", *command]
    with subprocess.Popen(program, cwd=ROOT, env=ENVIRON, stderr=subprocess.PIPE, text=True) as process:
        while not (folder / "state.pt").exists():
            assert process.poll() is None
            time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM
    assert said.startswith("sluice distill: stopped after ")
    assert said.endswith("of 4000 steps; the same command goes on from there\n")
    assert [path.name for path in folder.iterdir()] == ["state.pt"]
    assert not student.exists()
    assert main(["distill", *words(teacher, texts, student, "--no-resume")]) == 0
    assert not folder.exists()


def test_too_much_lost_and_no_number_are_status_1(
    teacher: Path, texts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = teachers.labelled(teachers.sentences(40), complexity=False)
    examples = teachers.write_rows(tmp_path / "examples.jsonl", rows)
    diverging = words(teacher, texts, tmp_path / "student", "--learning-rate", "1e30")
    assert main(["distill", *diverging]) == 1
    assert capsys.readouterr().err.startswith("sluice distill: the loss is no number after ")
    # The teacher is made to be right, so that what begins with two of its layers is not.
    from tests.unit.engine import plain, tiny

    said = plain.probabilities(teacher, [row["text"] for row in rows])
    right = [{**row, "label": tiny.LABELS[one.index(max(one))]} for row, one in zip(rows, said, strict=True)]
    teachers.write_rows(examples, right)
    losing = words(teacher, texts, tmp_path / "student", "--evaluate", str(examples), "--max-loss-points", "0")
    capsys.readouterr()
    assert main(["distill", *losing]) == 1
    assert "points of accuracy, more than 0, and was not put in place" in capsys.readouterr().err
    assert not (tmp_path / "student").exists()


@pytest.mark.parametrize(
    ("more", "complaint"),
    [
        (["--temperature", "0"], "--temperature: 0 is no number above 0"),
        (["--alpha", "2"], "--alpha: 2 does not lie between 0 and 1"),
        (["--precision", "int8"], "--precision: int8 is none of auto, fp32, bf16, fp16"),
        (["--layers", "7"], "--layers: the teacher has 5 layers, fewer than 7"),
        (["--max-tokens", "1000"], "--max-tokens: 1000 are more than the 64 that both models take"),
        (["--max-loss-points", "1"], "--max-loss-points: accuracy is lost on labelled texts; name some by --evaluate"),
        (["--device", "abacus"], "--device: device 'abacus' cannot be used"),
        (["--texts", "nowhere"], "--texts: cannot read nowhere"),
        (["--evaluate", "nowhere"], "--evaluate: cannot read nowhere"),
        (["--teacher", "nowhere"], "--teacher: nowhere is no checkpoint directory"),
        (["--student", "/proc/none/out"], "--student: /proc/none/out cannot be written"),
    ],
)
def test_a_refusal_is_one_line_that_names_the_option(
    teacher: Path, texts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], more: Sequence[str], complaint: str
) -> None:
    capsys.readouterr()
    assert main(["distill", *words(teacher, texts, tmp_path / "student", *more)]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    (line,) = said.err.splitlines()
    assert line.startswith(f"sluice distill: {complaint}")
    assert [path.name for path in tmp_path.iterdir()] == ["texts.txt"]


@pytest.mark.parametrize(
    "more", [["--epochs", "2"], ["--student-config", "c"], ["--batch-size", "none"], ["--learning-rate", "fast"]]
)
def test_wrong_usage_is_status_2(
    teacher: Path, texts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], more: Sequence[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["distill", *words(teacher, texts, tmp_path / "student", *more)])
    assert caught.value.code == 2
    assert more[0] in capsys.readouterr().err


def test_packages_that_are_not_there_are_told(
    teacher: Path, texts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "sluice.distillation.run", None)
    assert main(["distill", *words(teacher, texts, tmp_path / "student")]) == 2
    assert "is not installed; a worker's packages are: pip install 'sluice[worker]'" in capsys.readouterr().err


def test_help_comes_without_importing_torch() -> None:
    command = [sys.executable, "-X", "importtime", "-m", "sluice.cli.main", "distill", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=ENVIRON, check=True)
    assert "--student-config" in done.stdout
    assert "torch" not in done.stderr
