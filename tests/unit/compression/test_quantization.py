"""A graph in 8 or 4 bits: what its weights become, and that it still says what it said in fp32."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, numpy_helper

from sluice.compression.calibration import TextReader
from sluice.compression.quantization import quantize_blocks, quantize_static
from sluice.compression.run import export
from sluice.compression.source import open_source
from sluice.engine.checkpoint.checkpoint import open_checkpoint
from sluice.engine.onnx.export import quantize_dynamic
from tests.unit.engine import tiny

pytestmark = pytest.mark.torch
# What random weights of eight bits may move a probability; four bits move it further.
_CLOSE, _NEAR = 0.06, 0.25


def scores(graph: Path) -> np.ndarray:
    """Label probabilities of each text by itself."""
    import onnxruntime

    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    rows = []
    for text in tiny.TEXTS:
        tokens = tiny.tokenizer()([text], return_tensors="np")
        feed = {name: tokens[name].astype(np.int64) for name in ("input_ids", "attention_mask")}
        row = np.exp(session.run(["logits"], feed)[0][0])
        rows.append(row / row.sum())
    return np.array(rows)


def operators(graph: Path) -> Counter[str]:
    return Counter(node.op_type for node in onnx.load(graph).graph.node)


def weights(graph: Path, kind: int) -> list[np.ndarray]:
    """Matrices of an element type."""
    found = [one for one in onnx.load(graph).graph.initializer if one.data_type == kind and len(one.dims) > 1]
    return [numpy_helper.to_array(one) for one in found]


def reader(checkpoint: Path, seen: list[int] | None = None) -> TextReader:
    told = seen if seen is not None else []
    return TextReader(open_checkpoint(checkpoint), tiny.TEXTS, on_text=told.append)


@pytest.mark.parametrize("symmetric", [True, False])
def test_dynamic_eight_bits_stay_close(graph: Path, tmp_path: Path, symmetric: bool) -> None:
    made = tmp_path / "made.onnx"
    quantize_dynamic(graph, made, symmetric=symmetric)
    assert np.abs(scores(made) - scores(graph)).max() < _CLOSE
    assert operators(made)["DynamicQuantizeLinear"] > 0
    assert made.stat().st_size < 0.5 * graph.stat().st_size


def test_symmetric_weights_keep_to_seven_bits(graph: Path, tmp_path: Path) -> None:
    made = tmp_path / "made.onnx"
    quantize_dynamic(graph, made, symmetric=True)
    matrices = weights(made, TensorProto.INT8)
    assert matrices
    assert max(np.abs(matrix.astype(int)).max() for matrix in matrices) <= 64


def test_asymmetric_weights_are_unsigned_with_a_zero_point_per_channel(graph: Path, tmp_path: Path) -> None:
    made = tmp_path / "made.onnx"
    quantize_dynamic(graph, made, symmetric=False)
    assert weights(made, TensorProto.UINT8)
    assert not weights(made, TensorProto.INT8)
    model = onnx.load(made).graph
    points = {one.name: one for one in model.initializer}
    products = [points[node.input[3]] for node in model.node if node.op_type == "MatMulInteger"]
    assert products
    assert all(np.prod(point.dims) > 1 for point in products)


@pytest.mark.parametrize("percentile", [False, True])
@pytest.mark.parametrize("symmetric", [True, False])
def test_static_ranges_stay_close_and_are_found_text_by_text(
    checkpoint: Path, graph: Path, tmp_path: Path, symmetric: bool, percentile: bool
) -> None:
    made = tmp_path / "made.onnx"
    seen: list[int] = []
    quantize_static(graph, made, symmetric=symmetric, reader=reader(checkpoint, seen), percentile=percentile)
    assert seen == [1, 2, 3, 4, 5, 6]
    assert np.abs(scores(made) - scores(graph)).max() < 2 * _CLOSE
    found = operators(made)
    assert found["DynamicQuantizeLinear"] == 0
    assert found["QuantizeLinear"] > 0


@pytest.mark.parametrize("symmetric", [True, False])
def test_four_bits_hold_matrices_and_embeddings_in_blocks(graph: Path, tmp_path: Path, symmetric: bool) -> None:
    made = tmp_path / "made.onnx"
    quantize_blocks(graph, made, symmetric=symmetric, block_size=16)
    assert np.abs(scores(made) - scores(graph)).max() < _NEAR
    found = operators(made)
    assert (found["MatMulNBits"], found["GatherBlockQuantized"]) == (12, 2)
    products = [node for node in onnx.load(made).graph.node if node.op_type == "MatMulNBits"]
    assert {len(node.input) for node in products} == ({3} if symmetric else {4})
    assert made.stat().st_size < 0.4 * graph.stat().st_size


def test_larger_blocks_are_smaller_files(graph: Path, tmp_path: Path) -> None:
    sizes = []
    for block_size in (16, 32):
        quantize_blocks(graph, tmp_path / "made.onnx", symmetric=True, block_size=block_size)
        sizes.append((tmp_path / "made.onnx").stat().st_size)
    assert sizes[0] > sizes[1]


MAKERS: dict[str, Callable[[Path, Path, Path], None]] = {
    "dynamic": lambda _, plain, made: quantize_dynamic(plain, made, symmetric=True),
    "static": lambda checkpoint, plain, made: quantize_static(
        plain, made, symmetric=True, reader=reader(checkpoint), percentile=False
    ),
    "blocks": lambda _, plain, made: quantize_blocks(plain, made, symmetric=False, block_size=32),
}


@pytest.mark.parametrize("how", MAKERS)
def test_the_same_graph_makes_the_same_bytes(checkpoint: Path, graph: Path, tmp_path: Path, how: str) -> None:
    for name in ("a.onnx", "b.onnx"):
        MAKERS[how](checkpoint, graph, tmp_path / name)
    assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "b.onnx").read_bytes()


def test_an_export_is_repeatable_and_tells_nothing_of_its_machine(
    checkpoint: Path, graph: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    model = open_source(checkpoint, tmp_path / "staging", allow_pickle=False).model
    export(model, tmp_path / "again.onnx", output_name="logits")
    assert (tmp_path / "again.onnx").read_bytes() == graph.read_bytes()
    assert b"site-packages" not in graph.read_bytes()
    assert capfd.readouterr().out == ""
