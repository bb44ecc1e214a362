"""A graph says whose it is, in one place, and nothing of the machine that made it."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from sluice.engine.onnx.export import is_outgrown, stamp
from tests.unit.engine.loading import quantized

pytestmark = pytest.mark.torch


@pytest.fixture
def graph(tmp_path: Path) -> Path:
    """A graph with metadata of its maker's."""
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in "ab"]
    node = helper.make_node("Identity", ["a"], ["b"])
    model = helper.make_model(helper.make_graph([node], "foreign", values[:1], values[1:]))
    model.metadata_props.add(key="author", value="somebody")
    onnx.save(model, tmp_path / "graph.onnx")
    return tmp_path / "graph.onnx"


def test_a_graph_without_a_stamp_is_believed(graph: Path) -> None:
    assert not is_outgrown(onnx.load(graph), "any")


def test_a_stamp_replaces_the_one_before_and_nothing_else(graph: Path) -> None:
    stamp(graph, "first")
    stamp(graph, "second")
    model = onnx.load(graph)
    assert (is_outgrown(model, "second"), is_outgrown(model, "first")) == (False, True)
    entries = [(entry.key, entry.value) for entry in model.metadata_props]
    assert entries == [("author", "somebody"), ("sluice.fingerprint", "second")]


def test_what_sluice_exports_tells_nothing_of_its_machine(tiny_checkpoints: dict[str, Path], int8_cache: Path) -> None:
    quantized(tiny_checkpoints["distilbert"], int8_cache).close()
    graphs = list(int8_cache.rglob("*.onnx"))
    assert graphs
    for file in graphs:
        data = file.read_bytes()
        assert b"site-packages" not in data
        assert b'File "' not in data
