"""Which int8 graph serves a checkpoint: never one of other weights, never one that is none."""

from __future__ import annotations

import shutil
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from sluice.domain.enums import Task
from sluice.domain.errors import InvalidRequest
from sluice.engine.checkpoint.checkpoint import Checkpoint, open_checkpoint
from sluice.engine.onnx import export as subject
from sluice.engine.onnx.export import SHIPPED, int8_graph
from tests.unit.engine.loading import quantized, table
from tests.unit.engine.plain import probabilities
from tests.unit.engine.tiny import TEXTS, edit, write

pytestmark = pytest.mark.torch


@pytest.fixture
def exports(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The checkpoints that were exported; what comes out is an empty file, in no time."""
    made: list[Path] = []

    def export(checkpoint: Path, destination: Path, *, task: Task) -> Path:
        made.append(checkpoint)
        destination.parent.mkdir(parents=True)
        destination.touch()
        return destination

    monkeypatch.setattr(subject, "export_int8", export)
    return made


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    """A checkpoint that the test may change."""
    return write(tmp_path / "mine", "distilbert")


def ship(checkpoint: Path, *, output: str = "logits", labels: int | str = 4) -> Path:
    """Put a graph of another maker into the checkpoint."""
    values = [
        helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["batch", "tokens"]),
        helper.make_tensor_value_info(output, TensorProto.FLOAT, ["batch", labels]),
    ]
    node = helper.make_node("Cast", ["input_ids"], [output], to=TensorProto.FLOAT)
    file = checkpoint / SHIPPED
    file.parent.mkdir()
    onnx.save(helper.make_model(helper.make_graph([node], "foreign", values[:1], values[1:])), file)
    return file


def opened(path: Path) -> Checkpoint:
    return open_checkpoint(path)


def test_a_graph_is_made_once_for_weights_that_stay(mine: Path, tmp_path: Path, exports: list[Path]) -> None:
    first = int8_graph(opened(mine), tmp_path / "cache")
    edit(mine / "tokenizer_config.json", remark="the tokenizer has no part in the graph")
    assert int8_graph(opened(mine), tmp_path / "cache") == first
    assert first.is_relative_to(tmp_path / "cache")
    assert exports == [mine]


def test_other_weights_and_another_config_make_other_graphs(mine: Path, tmp_path: Path, exports: list[Path]) -> None:
    cache = tmp_path / "cache"
    graphs = {int8_graph(opened(mine), cache)}
    write(mine, "distilbert", seed=1)
    graphs.add(int8_graph(opened(mine), cache))
    edit(mine / "config.json", activation="relu")
    graphs.add(int8_graph(opened(mine), cache))
    assert (len(graphs), len(exports)) == (3, 3)


def test_a_copy_elsewhere_uses_the_graph_that_is_there(mine: Path, tmp_path: Path, exports: list[Path]) -> None:
    shutil.copytree(mine, tmp_path / "copy")
    assert int8_graph(opened(mine), tmp_path / "cache") == int8_graph(opened(tmp_path / "copy"), tmp_path / "cache")
    assert len(exports) == 1


def test_changed_weights_are_really_exported_anew(tmp_path: Path, int8_cache: Path) -> None:
    checkpoint = write(tmp_path / "mine", "distilbert", seed=5)
    (rows,) = table(quantized(checkpoint, int8_cache), TEXTS[:1])
    assert rows == pytest.approx(probabilities(checkpoint, TEXTS[:1])[0], abs=0.06)


def test_weights_in_shards_are_fingerprinted_all(mine: Path, tmp_path: Path, exports: list[Path]) -> None:
    from transformers import AutoModelForSequenceClassification

    AutoModelForSequenceClassification.from_pretrained(mine).save_pretrained(mine, max_shard_size="100KB")
    (mine / "model.safetensors").unlink()
    first = int8_graph(opened(mine), tmp_path / "cache")
    shard = max(mine.glob("model-*.safetensors"))
    data = bytearray(shard.read_bytes())
    data[-2] ^= 1
    shard.write_bytes(data)
    assert int8_graph(opened(mine), tmp_path / "cache") != first


def test_a_shipped_graph_of_another_maker_is_believed(mine: Path, tmp_path: Path, exports: list[Path]) -> None:
    file = ship(mine)
    assert int8_graph(opened(mine), tmp_path / "cache") == file
    assert exports == []


def test_a_shipped_graph_that_the_weights_have_outgrown_is_not_used(
    mine: Path, tmp_path: Path, exports: list[Path], caplog: pytest.LogCaptureFixture
) -> None:
    file = ship(mine)
    model = onnx.load(file)
    model.metadata_props.add(key="sluice.fingerprint", value="that of other weights")
    onnx.save(model, file)
    assert int8_graph(opened(mine), tmp_path / "cache") != file
    assert exports == [mine]
    assert "older than the weights" in caplog.text


def test_what_sluice_exports_carries_the_fingerprint_of_its_source(
    tiny_checkpoints: dict[str, Path], int8_cache: Path
) -> None:
    checkpoint = opened(tiny_checkpoints["distilbert"])
    graph = int8_graph(checkpoint, int8_cache)
    (stamp,) = [entry.value for entry in onnx.load(graph).metadata_props if entry.key == "sluice.fingerprint"]
    assert graph.parent.name == f"{stamp[:32]}-1"


@pytest.mark.parametrize(
    ("graph", "complaint"),
    [
        ({"output": "scores"}, r"onnx/model_int8\.onnx has no output 'logits'"),
        ({"labels": 7}, r"onnx/model_int8\.onnx gives 7 labels, and config\.json says 4"),
    ],
)
def test_a_shipped_graph_that_does_not_fit_is_refused(
    mine: Path, tmp_path: Path, graph: dict[str, int], complaint: str
) -> None:
    ship(mine, **graph)  # type: ignore[arg-type]
    with pytest.raises(InvalidRequest, match=complaint) as caught:
        quantized(mine, tmp_path)
    assert caught.value.field == "checkpoint"


@pytest.mark.parametrize("data", [b"", b"PK\x03\x04 no graph at all"], ids=["empty", "zip"])
def test_a_shipped_file_that_is_no_graph_is_refused(mine: Path, tmp_path: Path, data: bytes) -> None:
    ship(mine).write_bytes(data)
    with pytest.raises(InvalidRequest, match=r"onnx/model_int8\.onnx") as caught:
        quantized(mine, tmp_path)
    assert caught.value.field == "checkpoint"


def test_a_decoder_is_not_quantized_and_the_message_says_what_to_do(
    tiny_checkpoints: dict[str, Path], tmp_path: Path
) -> None:
    with pytest.raises(
        InvalidRequest, match=r"is of type qwen2; int8 export knows bert, .*; serve it in fp32"
    ) as caught:
        quantized(tiny_checkpoints["qwen2"], tmp_path)
    assert caught.value.field == "precision"


def test_a_head_that_is_missing_is_never_made_up_for_the_export(mine: Path, tmp_path: Path) -> None:
    edit(mine / "config.json", id2label={"0": "a", "1": "b"}, label2id={"a": 0, "b": 1})
    with pytest.raises(InvalidRequest, match=r"model\.safetensors does not fit config\.json: classifier\.bias"):
        quantized(mine, tmp_path)


def test_a_cache_that_cannot_be_written_is_named(mine: Path, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file stands where the directory should be")
    with pytest.raises(InvalidRequest, match="the int8 graph of mine cannot be kept as") as caught:
        quantized(mine, tmp_path / "cache")
    assert caught.value.field == "cache"
