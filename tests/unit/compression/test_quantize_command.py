"""The command line: the documented one on a shipped model, and one line for everything that it refuses."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from services.cpu_worker.load import load
from sluice.cli.main import main
from sluice.domain.enums import Tier
from sluice.worker.execution.backend import Backend, Classification, Item, ModelSpec
from tests.unit.compression.conftest import ROOT
from tests.unit.worker.bench import bench

pytestmark = pytest.mark.torch
LIGHT = ROOT / "models" / "support-intent-light"
TEXTS = 120


@pytest.fixture
def light(tmp_path: Path) -> Path:
    """The shipped light model as a state dict with its configuration and tokenizer beside it."""
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        shutil.copyfile(LIGHT / name, tmp_path / name)
    torch.save(load_file(LIGHT / "model.safetensors"), tmp_path / "original.pt")
    return tmp_path


def accuracy(backend: Backend) -> float:
    lines = (ROOT / "examples" / "requests.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines[:TEXTS]]
    outputs = backend.execute([Item(row["text"], truncate=True) for row in rows])
    right = [
        isinstance(one, Classification) and one.label == row["label"] for one, row in zip(outputs, rows, strict=True)
    ]
    return sum(right) / len(right)


def served(checkpoint: Path, cache: Path, tier: Tier) -> Backend:
    return load(ModelSpec(model="light", tier=tier, checkpoint=checkpoint, threads=1), cache=str(cache))


async def held(root: Path, *, checkpoint: str) -> Backend:
    """What a CPU worker serves once `checkpoint` below its model root is named to it."""
    async with bench(load=partial(load, cache=str(root / "cache")), root=root) as worker:
        variant = await worker.catalog.load(model="mine", tier=Tier.QUANTIZED, checkpoint=checkpoint)
        return worker.catalog.backend(variant.id)


def labels(checkpoint: Path) -> tuple[str, ...]:
    names = json.loads((checkpoint / "config.json").read_text(encoding="utf-8"))["id2label"]
    return tuple(names[str(place)] for place in range(len(names)))


@pytest.mark.timeout(300)
def test_the_documented_command_makes_a_file_that_the_worker_serves(light: Path) -> None:
    command = "--input_model original.pt --output_model quantized.pt --bits 8 --method symmetric"
    done = subprocess.run(
        [sys.executable, str(ROOT / "tools" / "quantize.py"), *command.split()],
        cwd=light,
        capture_output=True,
        text=True,
        timeout=250,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "quantized.pt is ready." in done.stdout
    assert done.stderr == ""
    assert (light / "quantized.pt").stat().st_size < 0.7 * (light / "original.pt").stat().st_size
    before = accuracy(served(LIGHT, light / "cache", Tier.LIGHT))
    backend = asyncio.run(held(light, checkpoint="quantized.pt"))
    assert (backend.variant.id, backend.variant.labels) == ("mine/quantized-int8", labels(LIGHT))
    assert before > 0.9
    assert accuracy(backend) >= before - 0.02


def test_sluice_quantize_is_the_same_program_and_reports(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    examples = tmp_path / "examples.jsonl"
    examples.write_text('{"text": "ok", "label": "joy"}\n' * 20, encoding="utf-8")
    words = [
        *("quantize", "--input_model", str(checkpoint), "--output_model", str(tmp_path / "out")),
        *("--bits", "4", "--block_size", "16", "--prune", "0.5", "--evaluate", str(examples)),
    ]
    assert main(words) == 0
    said = capsys.readouterr().out
    for part in ("int4, ", "accuracy on 20 texts", "texts/s", "1 of 2 heads and 32 of 64 neurons", "ready"):
        assert part in said
    report = json.loads((tmp_path / "out" / "report.json").read_text(encoding="utf-8"))
    assert (report["bits"], report["block_size"], report["pruned"]["heads"]) == (4, 16, 1)


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["--bits", "3"], "--bits: 3 is none of 8, 4"),
        (["--bits", "8.5"], "--bits: 8.5 is no whole number"),
        (["--bits", "eight"], "--bits: eight is no number"),
        (["--method", "ternary"], "--method: ternary is none of symmetric, asymmetric"),
        (["--ranges", "entropy"], "--ranges: entropy is none of minmax, percentile"),
        (["--block_size", "7"], "--block_size: 7 is none of 16, 32, 64, 128, 256"),
        (["--prune", "1.5"], "--prune: 1.5 is no fraction from 0 to below 1"),
        (["--prune", "nan"], "--prune: nan is no number"),
        (["--calibration", "nowhere"], "--calibration: cannot read nowhere: No such file"),
        (["--evaluate", "nowhere"], "--evaluate: cannot read nowhere: No such file"),
        (["--ranges", "minmax"], "--ranges: without calibration, each batch has the ranges of its own values"),
        (["--block_size", "32"], "--block_size: at 8 bits, weights share a scale by output channel"),
        (["--input_model", "nowhere.pt"], "--input_model: nowhere.pt does not exist"),
        (["--output_model", "/proc/none/out"], "--output_model: /proc/none/out cannot be written"),
    ],
)
def test_a_refusal_is_one_line_that_names_the_option(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: Sequence[str], complaint: str
) -> None:
    usual = ["--input_model", str(checkpoint), "--output_model", str(tmp_path / "out")]
    assert main(["quantize", *usual, *words]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    (line,) = said.err.splitlines()
    assert line.startswith(f"sluice quantize: {complaint}")
    assert list(tmp_path.iterdir()) == []


def test_a_whole_module_is_refused_on_the_command_line_with_the_flag_named(
    light: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.save(torch.nn.Linear(2, 2), light / "original.pt")
    words = ["--input_model", str(light / "original.pt"), "--output_model", str(light / "out.pt")]
    assert main(["quantize", *words]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith("if you trust it, add --allow_pickle")


def test_packages_that_are_not_there_are_told(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "sluice.compression.run", None)
    words = ["--input_model", str(checkpoint), "--output_model", str(tmp_path / "out")]
    assert main(["quantize", *words]) == 2
    assert "is not installed; a worker's packages are: pip install 'sluice[worker]'" in capsys.readouterr().err


def test_the_help_says_what_unpickling_means(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["quantize", "--help"])
    assert caught.value.code == 0
    assert "can then run any code on this machine" in " ".join(capsys.readouterr().out.split())
