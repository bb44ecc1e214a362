"""Which runtime is opened, that both give the same answers, and that a batch's company changes nothing in OpenVINO."""

from __future__ import annotations

import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

from sluice.domain.errors import InvalidRequest
from sluice.engine.onnx.export import export_int8
from sluice.engine.onnx.runtime import OnnxRuntime, open_runtime
from sluice.engine.onnx.weight_graph import with_dequantized_weights
from sluice.worker.execution.backend import CpuRuntime
from tests.unit.engine.tiny import write

pytest.importorskip("openvino", reason="there is no OpenVINO for this machine")


@pytest.fixture(scope="module", params=["distilbert", "mobilebert"])
def graph(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp(request.param)
    return export_int8(write(folder / "checkpoint", request.param), folder / "model_int8.onnx")


def feed(lengths: list[int], width: int) -> dict[str, NDArray[Any]]:
    rng = np.random.default_rng(len(lengths))
    ids = np.ones((len(lengths), width), dtype=np.int64)
    mask = np.zeros_like(ids)
    for row, length in enumerate(lengths):
        ids[row, :length] = rng.integers(5, 40, length)
        mask[row, :length] = 1
    return {"input_ids": ids, "attention_mask": mask}


def test_engines_agree(graph: Path) -> None:
    batch = feed([4, 9, 12], 12)
    ours, theirs = (
        open_runtime(graph, threads=1, engine=engine).run(batch, "logits")
        for engine in (CpuRuntime.OPENVINO, CpuRuntime.ONNX_RUNTIME)
    )
    assert ours.shape == theirs.shape
    assert np.abs(ours - theirs).max() <= 0.1 * max(1.0, np.abs(theirs).max())


def test_company_changes_nothing_in_openvino(graph: Path) -> None:
    opened = open_runtime(graph, threads=1, engine=CpuRuntime.OPENVINO)
    batch = feed([5, 11], 11)
    together = opened.run(batch, "logits")
    alone = opened.run({name: array[:1, :5] for name, array in batch.items()}, "logits")
    # What is not quantized is computed in bf16, which has eight bits.
    assert np.abs(together[:1] - alone).max() <= 0.05 * max(1.0, np.abs(alone).max())


def test_a_result_outlives_the_next_batch(graph: Path) -> None:
    opened = open_runtime(graph, threads=1, engine=CpuRuntime.OPENVINO)
    first = opened.run(feed([3], 3), "logits")
    kept = first.copy()
    opened.run(feed([7, 7], 7), "logits")
    assert np.array_equal(first, kept)


def test_what_openvino_cannot_run_runs_elsewhere(graph: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(model: Any) -> Any:
        raise ValueError("an operator that nobody knows")

    monkeypatch.setattr("sluice.engine.onnx.runtime.with_dequantized_weights", refuse)
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    assert isinstance(open_runtime(graph, threads=1), OnnxRuntime)
    with pytest.raises(InvalidRequest, match="openvino cannot run") as refusal:
        open_runtime(graph, threads=1, engine=CpuRuntime.OPENVINO)
    assert refusal.value.field == "engine"


def test_other_machines_get_onnx_runtime(graph: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    assert isinstance(open_runtime(graph, threads=1), OnnxRuntime)


def test_openvino_is_not_let_report_its_use(graph: Path) -> None:
    program = (
        "import sys, threading\n"
        "from pathlib import Path\n"
        "from sluice.engine.onnx.runtime import OpenVinoRuntime\n"
        "OpenVinoRuntime(Path(sys.argv[1]), threads=1)\n"
        "print(len(threading.enumerate()), sys.modules['openvino_telemetry'])\n"
    )
    done = subprocess.run([sys.executable, "-c", program, str(graph)], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["1", "None"]


def test_a_signal_is_survived_after_models_came_and_went(graph: Path) -> None:
    # In a program of its own, for what is tested is that it does not die.
    program = (
        "import signal, sys\n"
        "from pathlib import Path\n"
        "from sluice.engine.onnx.runtime import OpenVinoRuntime\n"
        "signal.signal(signal.SIGINT, lambda number, frame: print('heard'))\n"
        "first, second = (OpenVinoRuntime(Path(sys.argv[1]), threads=1) for _ in range(2))\n"
        "del first\n"
        "del second\n"
        "signal.raise_signal(signal.SIGINT)\n"
    )
    done = subprocess.run([sys.executable, "-c", program, str(graph)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "heard\n")


def test_no_model_is_said_to_be_none(tmp_path: Path) -> None:
    file = tmp_path / "model_int8.onnx"
    file.write_bytes(b"no model")
    with pytest.raises(InvalidRequest, match="no model that can be run"):
        open_runtime(file, threads=1)


def test_no_integer_product_is_left(graph: Path) -> None:
    rewritten = with_dequantized_weights(onnx.load(graph))
    kinds = {node.op_type for node in rewritten.graph.node}
    assert "MatMul" in kinds
    assert not kinds & {"MatMulInteger", "DynamicQuantizeLinear"}
    onnx.checker.check_model(rewritten)


def test_a_graph_without_integer_products_stays(graph: Path) -> None:
    plain = with_dequantized_weights(onnx.load(graph))
    before = plain.SerializeToString()
    assert with_dequantized_weights(plain).SerializeToString() == before
