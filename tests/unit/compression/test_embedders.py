"""Models that embed are compressed as those that classify are, and their vectors stay where they were."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from services.cpu_worker.load import load
from sluice.cli.main import main
from sluice.compression import run as subject
from sluice.compression.report import Report
from sluice.compression.run import compress, export
from sluice.compression.settings import Settings
from sluice.compression.source import open_source
from sluice.domain.enums import Task, Tier
from sluice.domain.errors import InvalidRequest
from sluice.worker.execution.backend import Backend, ModelSpec
from tests.unit.engine import sentences, tiny
from tests.unit.engine.loading import light, vectors

pytestmark = pytest.mark.torch
NEAR = {8: 0.99, 4: 0.9}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random BERT without a head."""
    return tiny.write_base(tmp_path_factory.mktemp("embedder") / "base", "bert")


@pytest.fixture(scope="module")
def sentence(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same as sentence-transformers once saved it: in a directory of its own, with three modules behind it."""
    home = tmp_path_factory.mktemp("sentence") / "mine"
    shutil.copytree(base, home / "0_Transformer")
    sentences.dump(home / "0_Transformer" / "sentence_bert_config.json", {"max_seq_length": 40, "do_lower_case": True})
    sentences.add_pooling(sentences.add_modules(home, "Dense", "Normalize", transformer="0_Transformer"), "mean", "max")
    weight = torch.randn(12, 64, generator=torch.Generator().manual_seed(1))
    sentences.add_dense(home, "2_Dense", weight, torch.zeros(12))
    sentences.dump(home / "config_sentence_transformers.json", {"default_prompt_name": None})
    (home / "2_Dense" / "pytorch_model.bin").write_bytes(b"nobody opens this")
    return home


@pytest.fixture(scope="module")
def graph(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The graph of both in fp32."""
    folder = tmp_path_factory.mktemp("graph")
    source = open_source(base, folder / "staging", allow_pickle=False)
    export(source.model, folder / "plain.onnx", output_name="last_hidden_state")
    return folder / "plain.onnx"


@pytest.fixture
def exported(graph: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Unpruned models are exported in no time, because that was done before."""
    monkeypatch.setattr(subject, "export", lambda model, file, output_name: shutil.copyfile(graph, file))


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    file = tmp_path / "texts.txt"
    file.write_text("\n".join(tiny.TEXTS), encoding="utf-8")
    return file


def made(source: Path, output: Path, **changes: Any) -> Report:
    return compress(Settings(source=source, output=output, **changes), lambda stage, done, total: None)


def served(checkpoint: Path, cache: Path) -> Backend:
    backend = load(ModelSpec(model="mine", tier=Tier.QUANTIZED, checkpoint=checkpoint, threads=1), cache=str(cache))
    backend.warm_up()
    return backend


def cosines(rows: np.ndarray, others: np.ndarray) -> np.ndarray:
    return (rows * others).sum(1) / np.linalg.norm(rows, axis=1) / np.linalg.norm(others, axis=1)


@pytest.mark.usefixtures("exported")
@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize("name", ["quantized", "quantized.pt"])
def test_the_worker_serves_either_output_as_it_is(sentence: Path, tmp_path: Path, name: str, bits: int) -> None:
    made(sentence, tmp_path / name, bits=bits)
    backend = served(tmp_path / name, tmp_path / "cache")
    assert (backend.variant.task, backend.variant.precision) == (Task.FEATURE_EXTRACTION, f"int{bits}")
    assert (backend.variant.max_tokens, backend.variant.quality) == (40, None)
    rows = vectors(backend, tiny.TEXTS)
    assert cosines(rows, vectors(light(sentence), tiny.TEXTS)).min() > NEAR[bits]
    assert np.linalg.norm(rows, axis=1) == pytest.approx(np.ones(len(rows)))
    assert not list((tmp_path / "cache").glob("*/model_int8.onnx")), "the graph is there, so that none is made"


@pytest.mark.usefixtures("exported")
def test_modules_come_along_and_pickles_do_not(sentence: Path, tmp_path: Path) -> None:
    made(sentence, tmp_path / "out")
    files = {path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*") if path.is_file()}
    assert files == {
        "1_Pooling/config.json",
        "2_Dense/config.json",
        "2_Dense/model.safetensors",
        "config.json",
        "config_sentence_transformers.json",
        "model.safetensors",
        "modules.json",
        "onnx/model_int8.onnx",
        "sentence_bert_config.json",
        "tokenizer.json",
        "tokenizer_config.json",
    }
    assert vectors(light(tmp_path / "out"), tiny.TEXTS) == pytest.approx(vectors(light(sentence), tiny.TEXTS))


@pytest.mark.usefixtures("exported")
@pytest.mark.parametrize("whole", [False, True], ids=["state dict", "whole module"])
def test_a_torch_file_with_modules_beside_it_is_an_embedder(
    base: Path, sentence: Path, tmp_path: Path, whole: bool
) -> None:
    loose = shutil.copytree(base, tmp_path / "loose")
    for name in ("modules.json", "1_Pooling", "2_Dense", "config_sentence_transformers.json"):
        (shutil.copytree if (sentence / name).is_dir() else shutil.copyfile)(sentence / name, loose / name)
    sentences.add_modules(loose, "Dense", "Normalize")
    sentences.dump(loose / "sentence_bert_config.json", {"max_seq_length": 40, "do_lower_case": True})
    if whole:
        from transformers import AutoModel

        torch.save(AutoModel.from_pretrained(base), loose / "original.pt")
    else:
        torch.save(load_file(base / "model.safetensors"), loose / "original.pt")
    (loose / "model.safetensors").unlink()
    made(loose / "original.pt", tmp_path / "quantized.pt", allow_pickle=whole)
    rows = vectors(served(tmp_path / "quantized.pt", tmp_path / "cache"), tiny.TEXTS)
    assert cosines(rows, vectors(light(sentence), tiny.TEXTS)).min() > NEAR[8]


@pytest.mark.usefixtures("exported")
def test_a_model_without_modules_is_pooled_as_it_was(base: Path, tmp_path: Path) -> None:
    made(base, tmp_path / "out")
    rows = vectors(served(tmp_path / "out", tmp_path / "cache"), tiny.TEXTS)
    assert cosines(rows, vectors(light(base), tiny.TEXTS)).min() > NEAR[8]


def test_a_pruned_embedder_says_the_same_in_its_graph_and_in_its_weights(sentence: Path, tmp_path: Path) -> None:
    report = made(sentence, tmp_path / "out", prune=0.5)
    assert report.removed is not None
    rows = vectors(served(tmp_path / "out", tmp_path / "cache"), tiny.TEXTS)
    assert cosines(rows, vectors(light(tmp_path / "out"), tiny.TEXTS)).min() > NEAR[8]
    assert cosines(rows, vectors(light(sentence), tiny.TEXTS)).min() < NEAR[8]


@pytest.mark.usefixtures("exported")
def test_vectors_are_compared_with_those_of_the_original(
    sentence: Path, texts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--input_model", str(sentence), "--output_model", str(tmp_path / "out"), "--evaluate", str(texts)]
    assert main(["quantize", *words, "--calibration", str(texts)]) == 0
    said = capsys.readouterr().out
    for part in ("cosine to fp32 on 6 texts", "that of the worst text", "texts with the same nearest other"):
        assert part in said
    report = json.loads((tmp_path / "out" / "report.json").read_text(encoding="utf-8"))
    before, after = report["before"], report["after"]
    assert [before[key] for key in ("cosine", "least_cosine", "same_neighbour")] == pytest.approx([1.0, 1.0, 1.0])
    assert NEAR[4] < after["least_cosine"] < after["cosine"] < 1
    assert 0 <= after["same_neighbour"] <= 1
    assert (report["activations"], "accuracy" in after) == ("int8, static by minmax", False)
    quality = json.loads((tmp_path / "out" / "quality.json").read_text(encoding="utf-8"))
    assert quality == {"precision": "int8", "metric": "cosine", "quality": round(after["cosine"], 4)}
    # What is reported is what is served.
    rows = vectors(served(tmp_path / "out", tmp_path / "cache"), tiny.TEXTS)
    assert cosines(rows, vectors(light(sentence), tiny.TEXTS)).mean() == pytest.approx(after["cosine"], abs=1e-3)


def test_a_text_without_a_vector_is_refused_and_nothing_is_left(base: Path, tmp_path: Path) -> None:
    bare = shutil.copytree(base, tmp_path / "bare")
    tiny.edit(bare / "tokenizer.json", post_processor=None)
    examples = tmp_path / "examples.jsonl"
    examples.write_text('{"text": "ok"}\n{"text": ""}\n', encoding="utf-8")
    with pytest.raises(InvalidRequest, match="not every text has a vector: the text holds nothing") as caught:
        made(bare, tmp_path / "deep" / "out", evaluate=examples)
    assert caught.value.field == "evaluate"
    assert list((tmp_path / "deep").iterdir()) == []
    examples.write_text('{"text": ""}\n', encoding="utf-8")
    with pytest.raises(InvalidRequest, match=f"{examples} holds no text that the model can read") as caught:
        made(bare, tmp_path / "deep" / "out", calibration=examples)
    assert caught.value.field == "calibration"


def test_modules_that_lead_out_of_the_checkpoint_are_never_copied(base: Path, tmp_path: Path) -> None:
    loose = shutil.copytree(base, tmp_path / "loose")
    torch.save(load_file(base / "model.safetensors"), loose / "original.pt")
    sentences.dump(tmp_path / "secret" / "config.json", {})
    entries = [{"type": f"{sentences.LIBRARY}{kind}", "path": path} for kind, path in MODULES]
    sentences.dump(loose / "modules.json", entries)
    with pytest.raises(InvalidRequest, match="lies outside of the checkpoint"):
        made(loose / "original.pt", tmp_path / "out")


MODULES = [("Transformer", ""), ("Pooling", "../secret")]
