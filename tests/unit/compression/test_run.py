"""A compression from end to end on a small model: what is in the output, and that the CPU worker serves it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import onnx
import pytest
from transformers import AutoModelForSequenceClassification

from services.cpu_worker.load import load
from sluice.compression import run as subject
from sluice.compression.report import Report
from sluice.compression.run import compress
from sluice.compression.settings import Settings
from sluice.domain.enums import Tier
from sluice.domain.errors import InvalidRequest
from sluice.engine.checkpoint.weights import fingerprint
from sluice.worker.execution.backend import Backend, Classification, Item, ModelSpec
from tests.unit.engine import tiny

pytestmark = pytest.mark.torch


@pytest.fixture
def exported(graph: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Unpruned models are exported in no time, because that was done before."""
    monkeypatch.setattr(subject, "export", lambda model, file, output_name: shutil.copyfile(graph, file))


@pytest.fixture
def examples(tmp_path: Path) -> Path:
    """Each text with some label."""
    rows = [{"text": text, "label": tiny.LABELS[place % 4]} for place, text in enumerate(tiny.TEXTS)]
    file = tmp_path / "examples.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return file


def made(source: Path, output: Path, stages: list[str] | None = None, **changes: Any) -> Report:
    told = stages if stages is not None else []
    settings = Settings(source=source, output=output, **changes)
    return compress(settings, lambda stage, done, total: told.append(f"{stage} {done}/{total}"))


def served(checkpoint: Path, tmp_path: Path, *, tier: Tier = Tier.QUANTIZED, precision: str = "") -> Backend:
    spec = ModelSpec(model="mine", tier=tier, checkpoint=checkpoint, precision=precision, threads=1)
    backend = load(spec, cache=str(tmp_path / "cache"))
    backend.warm_up()
    return backend


def labels(backend: Backend) -> list[str]:
    outputs = backend.execute([Item(text) for text in tiny.TEXTS])
    return [output.label for output in outputs if isinstance(output, Classification)]


def names(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.usefixtures("exported")
def test_a_directory_holds_the_checkpoint_and_its_stamped_graph(checkpoint: Path, tmp_path: Path) -> None:
    output = tmp_path / "quantized"
    made(checkpoint, output)
    assert names(output) == {
        "config.json",
        "model.safetensors",
        "onnx/model_int8.onnx",
        "tokenizer.json",
        "tokenizer_config.json",
    }
    assert fingerprint(output) == fingerprint(checkpoint)
    entries = onnx.load(output / "onnx" / "model_int8.onnx").metadata_props
    assert [one.value for one in entries if one.key == "sluice.fingerprint"] == [fingerprint(output)]
    assert [path.name for path in tmp_path.iterdir()] == ["quantized"]


@pytest.mark.usefixtures("exported")
@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize("name", ["quantized", "quantized.pt"])
def test_the_worker_serves_either_output_as_it_is(checkpoint: Path, tmp_path: Path, name: str, bits: int) -> None:
    output = tmp_path / name
    made(checkpoint, output, bits=bits)
    backend = served(output, tmp_path)
    assert backend.variant.precision == f"int{bits}"
    assert backend.variant.quality is None
    assert len(labels(backend)) == len(tiny.TEXTS)
    assert (tmp_path / "cache").exists() == output.is_file(), "the graph is there, so that none is made"


@pytest.mark.usefixtures("exported")
def test_weights_in_shards_are_copied_all(checkpoint: Path, tmp_path: Path) -> None:
    sharded = shutil.copytree(checkpoint, tmp_path / "sharded")
    (sharded / "model.safetensors").unlink()
    AutoModelForSequenceClassification.from_pretrained(checkpoint).save_pretrained(sharded, max_shard_size="60KB")
    made(sharded, tmp_path / "out")
    assert len(list((tmp_path / "out").glob("model-*.safetensors"))) > 1
    assert fingerprint(tmp_path / "out") == fingerprint(sharded)


@pytest.mark.usefixtures("exported")
def test_a_file_is_smaller_than_its_source_and_says_the_same_as_a_directory(checkpoint: Path, tmp_path: Path) -> None:
    made(checkpoint, tmp_path / "folder")
    made(checkpoint, tmp_path / "file.pt")
    assert labels(served(tmp_path / "folder", tmp_path)) == labels(served(tmp_path / "file.pt", tmp_path))
    assert (tmp_path / "file.pt").stat().st_size < (checkpoint / "model.safetensors").stat().st_size


@pytest.mark.usefixtures("exported")
def test_a_file_computes_as_it_was_quantized_in_whatever_tier(checkpoint: Path, tmp_path: Path) -> None:
    output = tmp_path / "quantized.pt"
    made(checkpoint, output)
    assert served(output, tmp_path, tier=Tier.LIGHT).variant.id == "mine/light-int8"
    with pytest.raises(InvalidRequest, match=r"quantized\.pt holds weights in int8, not fp32") as caught:
        served(output, tmp_path, tier=Tier.LIGHT, precision="fp32")
    assert caught.value.field == "precision"


@pytest.mark.usefixtures("exported")
def test_the_same_command_makes_the_same_bytes(checkpoint: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        made(checkpoint, tmp_path / f"{name}.pt", method="asymmetric")
        made(checkpoint, tmp_path / name)
    assert (tmp_path / "a.pt").read_bytes() == (tmp_path / "b.pt").read_bytes()
    for name in names(tmp_path / "a"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


@pytest.mark.usefixtures("exported")
@pytest.mark.parametrize("ranges", ["minmax", "percentile"])
def test_calibrated_ranges_are_static(checkpoint: Path, tmp_path: Path, ranges: str) -> None:
    texts, stages = tmp_path / "texts", list[str]()
    texts.write_text("\n".join(text for text in tiny.TEXTS if "\t" not in text), encoding="utf-8")
    report = made(checkpoint, tmp_path / "out", stages, calibration=texts, ranges=ranges)
    assert report.activations() == f"int8, static by {ranges}"
    assert "calibrating 5/5" in stages
    operators = {node.op_type for node in onnx.load(tmp_path / "out" / "onnx" / "model_int8.onnx").graph.node}
    assert "QuantizeLinear" in operators
    assert "DynamicQuantizeLinear" not in operators
    assert len(labels(served(tmp_path / "out", tmp_path))) == len(tiny.TEXTS)


@pytest.mark.usefixtures("exported")
@pytest.mark.parametrize(("name", "place"), [("out", "out/report.json"), ("out.pt", "out.report.json")])
def test_an_evaluation_is_reported_and_becomes_the_quality(
    checkpoint: Path, examples: Path, tmp_path: Path, name: str, place: str
) -> None:
    source = shutil.copytree(checkpoint, tmp_path / "source")
    (source / "quality.json").write_text('{"quality": 0.999}', encoding="utf-8")
    stages: list[str] = []
    made(source, tmp_path / name, stages, evaluate=examples)
    report = json.loads((tmp_path / place).read_text(encoding="utf-8"))
    assert (report["bits"], report["method"], report["examples"], report["pruned"]) == (8, "symmetric", 6, None)
    for side, precision in (("before", "fp32"), ("after", "int8")):
        assert report[side]["precision"] == precision
        assert report[side]["items_per_s"] > 0
        assert 0 <= report[side]["accuracy"] <= 1
    assert report["size_ratio"] == round(report["after"]["size_bytes"] / report["before"]["size_bytes"], 4) < 0.5
    assert served(tmp_path / name, tmp_path).variant.quality == pytest.approx(report["after"]["accuracy"], abs=1e-4)
    assert {"measuring the original 6/6", "measuring the result 6/6", "writing 1/1"} <= set(stages)


@pytest.mark.usefixtures("exported")
def test_what_is_there_is_replaced_by_force_only(checkpoint: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    made(checkpoint, output)
    with pytest.raises(InvalidRequest, match="add --force"):
        made(checkpoint, output, bits=4)
    assert (output / "onnx" / "model_int8.onnx").is_file()
    made(checkpoint, output, bits=4, force=True)
    assert [path.name for path in (output / "onnx").iterdir()] == ["model_int4.onnx"]


def test_a_label_that_the_model_has_not_is_refused_and_nothing_is_left(checkpoint: Path, tmp_path: Path) -> None:
    examples = tmp_path / "examples"
    examples.write_text('{"text": "a", "label": "boredom"}', encoding="utf-8")
    with pytest.raises(InvalidRequest, match="the label 'boredom' is none of the model's 4"):
        made(checkpoint, tmp_path / "deep" / "out", evaluate=examples)
    assert list((tmp_path / "deep").iterdir()) == []


def test_what_the_exporter_cannot_do_is_told_of_the_model(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(model: Any, file: Path, *, output_name: str) -> None:
        raise RuntimeError("no such\noperator")

    monkeypatch.setattr(subject, "export", fail)
    with pytest.raises(InvalidRequest, match=f"{checkpoint} cannot be quantized: no such operator"):
        made(checkpoint, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_a_pruned_checkpoint_says_the_same_in_its_graph_and_in_plain_transformers(tmp_path: Path) -> None:
    source = tiny.write(tmp_path / "source", "mobilebert", seed=3)
    output = tmp_path / "out"
    report = made(source, output, prune=0.5)
    assert report.removed is not None
    assert (report.removed.heads, report.removed.of_heads) == (1, 2)
    AutoModelForSequenceClassification.from_pretrained(output)
    in_graph = served(output, tmp_path).execute([Item(text, top_k=4) for text in tiny.TEXTS])
    in_torch = served(output, tmp_path, precision="fp32").execute([Item(text, top_k=4) for text in tiny.TEXTS])
    for ours, theirs in zip(in_graph, in_torch, strict=True):
        assert isinstance(ours, Classification)
        assert isinstance(theirs, Classification)
        assert dict(ours.scores) == pytest.approx(dict(theirs.scores), abs=0.06)
    assert (output / "model.safetensors").stat().st_size < (source / "model.safetensors").stat().st_size


@pytest.mark.usefixtures("exported")
def test_a_graph_in_four_bits_of_other_weights_is_not_served(checkpoint: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    made(checkpoint, output, bits=4)
    tiny.edit(output / "config.json", activation="relu")
    with pytest.raises(InvalidRequest, match=r"model_int4\.onnx is older than the weights"):
        served(output, tmp_path)
    (output / "onnx" / "model_int4.onnx").write_bytes(b"PK no graph")
    with pytest.raises(InvalidRequest, match=r"model_int4\.onnx is no ONNX file"):
        served(output, tmp_path)
    (output / "onnx" / "model_int4.onnx").unlink()
    with pytest.raises(InvalidRequest, match=r"model_int4\.onnx is missing; tools/quantize\.py --bits 4 makes it"):
        served(output, tmp_path, precision="int4")
