"""Checkpoints that are broken or not to be trusted: refused before they serve, by the name of the file at fault."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from sluice.domain.errors import InvalidRequest
from sluice.engine.checkpoint.checkpoint import open_checkpoint
from tests.unit.engine.loading import full, light
from tests.unit.engine.tiny import edit, write

pytestmark = pytest.mark.torch
Damage = Callable[[Path], object]
WEIGHTS = "model.safetensors"


def config(**changes: object) -> Damage:
    return lambda path: edit(path / "config.json", **changes)


def without(*names: str) -> Damage:
    def damage(path: Path) -> None:
        for name in names:
            (path / name).unlink()

    return damage


def content(name: str, data: bytes) -> Damage:
    return lambda path: (path / name).write_bytes(data)


def truncated(path: Path) -> None:
    file = path / WEIGHTS
    file.write_bytes(file.read_bytes()[:-1000])


def changed_weights(change: Callable[[dict[str, torch.Tensor]], object]) -> Damage:
    def damage(path: Path) -> None:
        state = load_file(path / WEIGHTS)
        change(state)
        save_file(state, path / WEIGHTS, metadata={"format": "pt"})

    return damage


def poisoned(number: float, dtype: torch.dtype = torch.float32) -> Damage:
    def change(state: dict[str, torch.Tensor]) -> None:
        state["classifier.bias"] = torch.tensor([0.0, number, 0.0, 0.0]).to(dtype)

    return changed_weights(change)


def pickled(path: Path) -> None:
    torch.save(load_file(path / WEIGHTS), path / "pytorch_model.bin")
    (path / WEIGHTS).unlink()


def index(*names: str) -> Damage:
    listed = json.dumps({"metadata": {}, "weight_map": {f"weight{place}": name for place, name in enumerate(names)}})
    return content("model.safetensors.index.json", listed.encode())


BROKEN: dict[str, tuple[Damage, str]] = {
    "no config": (without("config.json"), "config.json is missing"),
    "config is not JSON": (content("config.json", b"{"), "config.json cannot be read"),
    "config is a number": (content("config.json", b"5"), "config.json cannot be read"),
    "config is binary": (content("config.json", b"\xff\xfe\x00"), "config.json cannot be read"),
    "no model type": (config(model_type=None), "config.json cannot be read"),
    "unknown model type": (config(model_type="perceptron"), "config.json cannot be read: .*`perceptron`"),
    "size of a wrong type": (config(dim="wide"), "config.json cannot be read: .*'dim'"),
    "no architecture": (config(architectures=None), "config.json names no architecture"),
    "another task": (config(architectures=["DistilBertForMaskedLM"]), "config.json names DistilBertForMaskedLM"),
    "regression": (config(problem_type="regression"), "config.json names problem_type regression"),
    "labels in a list": (config(id2label=["a", "b"]), "config.json cannot be read"),
    "labels by name": (config(id2label={"a": "0"}), "config.json cannot be read"),
    "labels with a gap": (
        config(id2label={"0": "a", "2": "b"}),
        "config.json id2label does not name the labels 0 to 1",
    ),
    "labels and their number disagree": (config(num_labels=3), "config.json has num_labels 3, and id2label names 4"),
    "labels and head disagree": (
        config(id2label={"0": "a", "1": "b"}, label2id={"a": 0, "b": 1}),
        r"model.safetensors does not fit config.json: classifier.bias is \(4,\) and should be \(2,\)",
    ),
    "no weights": (without(WEIGHTS), "model.safetensors is missing; weights are read from safetensors files only"),
    "pickled weights only": (pickled, "model.safetensors is missing; weights are read from safetensors files only"),
    "weights cut short": (truncated, "model.safetensors is truncated or damaged"),
    "weights empty": (content(WEIGHTS, b""), "model.safetensors is truncated or damaged"),
    "weights are text": (content(WEIGHTS, b"version https://example.invalid/spec/v1\n"), "is truncated or damaged"),
    "NaN": (poisoned(float("nan")), "model.safetensors holds NaN or infinity in 'classifier.bias'"),
    "infinity": (poisoned(float("-inf")), "model.safetensors holds NaN or infinity in 'classifier.bias'"),
    "NaN in eight bits": (poisoned(float("nan"), torch.float8_e4m3fn), "holds NaN or infinity in 'classifier.bias'"),
    "a weight is missing": (
        changed_weights(lambda state: state.pop("pre_classifier.weight")),
        "model.safetensors does not fit config.json: pre_classifier.weight",
    ),
    "index is not JSON": (content("model.safetensors.index.json", b"["), "index.json is no index"),
    "index is a list": (content("model.safetensors.index.json", b"[1]"), "index.json is no index"),
    "a shard is missing": (index(WEIGHTS, "more.safetensors"), "more.safetensors is missing"),
    "a shard lies elsewhere": (index(f"../{WEIGHTS}"), "index.json names '../model.safetensors', which lies outside"),
    "no tokenizer": (without("tokenizer.json", "tokenizer_config.json"), "tokenizer.json is missing"),
    "no tokenizer but its settings": (without("tokenizer.json"), "tokenizer.json is missing, and so is all else"),
    "tokenizer is not JSON": (content("tokenizer.json", b"{"), "tokenizer.json cannot be read"),
    "no pad token": (
        lambda path: edit(path / "tokenizer_config.json", pad_token=None),
        "tokenizer_config.json names no pad token",
    ),
    "a vocabulary that is far too small": (
        lambda path: write(path, "distilbert", vocab_size=20),
        "cannot answer so much as 'warm up': the text holds a token",
    ),
    "quality is not JSON": (content("quality.json", b"high"), "quality.json cannot be read"),
    "quality is a list": (content("quality.json", b"[0.9]"), "quality.json cannot be read"),
    "quality beyond one": (
        content("quality.json", b'{"quality": 93}'),
        r"quality.json holds a quality outside \[0, 1\]",
    ),
    "quality is NaN": (content("quality.json", b'{"quality": NaN}'), r"quality.json holds a quality outside \[0, 1\]"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_checkpoint_is_refused_by_the_name_of_the_file(tmp_path: Path, name: str) -> None:
    damage, complaint = BROKEN[name]
    checkpoint = write(tmp_path / "mine", "distilbert")
    damage(checkpoint)
    for load in (light, full):
        with pytest.raises(InvalidRequest, match=complaint) as caught:
            load(checkpoint)
        assert caught.value.field == "checkpoint"
        assert caught.value.message.startswith(str(checkpoint))
        assert "\n" not in caught.value.message


def test_code_that_a_checkpoint_brings_is_never_run(tmp_path: Path) -> None:
    checkpoint = write(tmp_path / "mine", "distilbert")
    trace = tmp_path / "was here"
    (checkpoint / "evil.py").write_text(f"open({str(trace)!r}, 'w').close()\n")
    auto = {"AutoConfig": "evil.Config", "AutoModelForSequenceClassification": "evil.Model"}
    edit(checkpoint / "config.json", auto_map=auto, model_type="evil")
    with pytest.raises(InvalidRequest, match=r"config\.json cannot be read: .*custom code"):
        light(checkpoint)
    # An architecture that transformers knows by itself needs no code from the checkpoint, and gets none.
    edit(checkpoint / "config.json", model_type="distilbert")
    edit(checkpoint / "tokenizer_config.json", auto_map={"AutoTokenizer": ["evil.Tokenizer", None]})
    light(checkpoint).close()
    assert not trace.exists()


def test_a_pickle_beside_the_weights_is_never_opened(tmp_path: Path) -> None:
    checkpoint = write(tmp_path / "mine", "distilbert")
    trace = tmp_path / "was here"

    class Evil:
        def __reduce__(self) -> tuple[object, ...]:
            return (Path.touch, (trace,))

    for name in ("pytorch_model.bin", "training_args.bin"):
        (checkpoint / name).write_bytes(pickle.dumps(Evil()))
    light(checkpoint).close()
    assert not trace.exists()


@pytest.mark.parametrize("pad", [1, None])
def test_roberta_must_pad_with_the_token_from_which_it_counts(tmp_path: Path, pad: int | None) -> None:
    checkpoint = write(tmp_path / "mine", "roberta")
    edit(checkpoint / "config.json", pad_token_id=pad)
    with pytest.raises(InvalidRequest, match=r"tokenizer\.json pads with 0, and config\.json's pad_token_id is 1"):
        open_checkpoint(checkpoint)


def test_a_pad_token_must_be_one_that_the_model_embeds(tmp_path: Path) -> None:
    checkpoint = write(tmp_path / "mine", "bert")
    edit(checkpoint / "tokenizer_config.json", pad_token="[NEW]")  # noqa: S106  no password
    with pytest.raises(InvalidRequest, match=r"tokenizer\.json pads with token \d+, and config\.json's vocab_size is"):
        open_checkpoint(checkpoint)


def test_quality_and_its_buckets_are_read_if_they_are_there(models: Path) -> None:
    opened = open_checkpoint(models / "support-intent-light")
    card = json.loads((models / "support-intent-light" / "quality.json").read_text())
    assert (opened.quality, list(opened.quality_by_complexity)) == (card["quality"], card["quality_by_complexity"])
    assert len(opened.quality_by_complexity) == 8
