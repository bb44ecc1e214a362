"""Sentence-transformers directories that are broken or not to be trusted: refused by the name of the file at fault."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from sluice.domain.enums import Task
from sluice.domain.errors import InvalidRequest
from sluice.engine.checkpoint.checkpoint import open_checkpoint
from tests.unit.engine.sentences import FLAGS, LIBRARY, add_dense, add_modules, add_pooling, dump
from tests.unit.engine.tiny import edit, write, write_base

pytestmark = pytest.mark.torch
Damage = Callable[[Path], object]
WIDTH = 32
DENSE = "2_Dense"


def modules(*entries: object) -> Damage:
    return lambda path: dump(path / "modules.json", list(entries))


def module(kind: str, place: str) -> dict[str, object]:
    return {"idx": 0, "name": "0", "type": kind, "path": place}


def pooling(**settings: object) -> Damage:
    return lambda path: dump(path / "1_Pooling" / "config.json", settings)


def dense(**settings: object) -> Damage:
    return lambda path: edit(path / DENSE / "config.json", **settings)


def settings(name: str, **content: object) -> Damage:
    return lambda path: dump(path / name, content)


def pickled_dense(path: Path) -> None:
    file = path / DENSE / "model.safetensors"
    torch.save(load_file(file), path / DENSE / "pytorch_model.bin")
    file.unlink()


def not_finite(path: Path) -> None:
    add_dense(path, DENSE, torch.full((4, WIDTH), float("nan")), None)


FIRST = module(f"{LIBRARY}Transformer", "")
SECOND = module(f"{LIBRARY}Pooling", "1_Pooling")
BROKEN: dict[str, tuple[Damage, str]] = {
    "modules is not JSON": (lambda path: (path / "modules.json").write_text("["), "modules.json is no list of modules"),
    "modules is a number": (lambda path: dump(path / "modules.json", 5), "modules.json is no list of modules"),
    "a module without a path": (modules({"type": f"{LIBRARY}Transformer"}), "modules.json is no list of modules"),
    "no modules": (modules(), "modules.json begins with nothing, not with Transformer, Pooling"),
    "no transformer": (modules(module(f"{LIBRARY}BoW", ""), SECOND), "modules.json begins with BoW, Pooling"),
    "no pooling": (modules(FIRST, module(f"{LIBRARY}Normalize", "1")), "begins with Transformer, Normalize"),
    "an unknown module": (modules(FIRST, SECOND, module(f"{LIBRARY}LSTM", "2_LSTM")), "modules.json names module LSTM"),
    "a module of somebody else": (
        modules(FIRST, SECOND, module("evil.Normalize", "2")),
        "modules.json names module evil.Normalize, which brings code of its own",
    ),
    "a module elsewhere": (modules(FIRST, module(f"{LIBRARY}Pooling", "../1_Pooling")), "'../1_Pooling', which lies"),
    "no pooling config": (
        lambda path: (path / "1_Pooling" / "config.json").unlink(),
        "1_Pooling/config.json cannot be",
    ),
    "pooling config is a list": (
        lambda path: dump(path / "1_Pooling" / "config.json", [1]),
        "1_Pooling/config.json is no table",
    ),
    "no pooling mode": (pooling(word_embedding_dimension=WIDTH), "1_Pooling/config.json names no pooling mode"),
    "all pooling modes down": (pooling(**dict.fromkeys(FLAGS.values(), False)), "config.json names no pooling mode"),
    "an unknown pooling mode": (
        pooling(pooling_mode="median"),
        "1_Pooling/config.json names median; there are cls, max",
    ),
    "a pooling without the prompt": (
        pooling(pooling_mode="mean", include_prompt=False),
        "1_Pooling/config.json leaves the prompt out",
    ),
    "a prompt before every text": (
        settings("config_sentence_transformers.json", default_prompt_name="query"),
        "config_sentence_transformers.json puts the prompt 'query'",
    ),
    "a limit that is no number": (
        settings("sentence_bert_config.json", max_seq_length="long"),
        "sentence_bert_config.json has max_seq_length 'long'",
    ),
    "a limit of nothing": (
        settings("sentence_bert_config.json", max_seq_length=0),
        "sentence_bert_config.json has max_seq_length 0",
    ),
    "pickled Dense weights": (pickled_dense, "2_Dense/model.safetensors is missing; weights are read from safetensors"),
    "Dense weights that are no numbers": (not_finite, "2_Dense/model.safetensors holds NaN or infinity"),
    "an unknown activation": (dense(activation_function="torch.nn.Softsign"), "2_Dense/config.json names activation"),
    "an activation of somebody else": (dense(activation_function="evil.Tanh"), "names activation evil.Tanh, none of"),
    "a Dense of token vectors": (
        dense(module_input_name="token_embeddings"),
        "2_Dense/config.json has module_input_name token_embeddings",
    ),
    "a Dense of other sizes": (
        dense(out_features=5),
        "2_Dense/model.safetensors holds no linear.weight of shape 5 x 32",
    ),
    "a Dense without its bias": (dense(bias=True), "2_Dense/model.safetensors holds no linear.bias"),
    "a Dense that does not fit": (
        lambda path: add_dense(path, DENSE, torch.ones(4, 7), None),
        "2_Dense/config.json takes 7 values, and 32 come to it",
    ),
    "an encoder with a decoder": (
        lambda path: edit(path / "config.json", is_encoder_decoder=True),
        "config.json describes an encoder with a decoder",
    ),
}


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    path = write_base(tmp_path / "mine", "distilbert")
    add_pooling(add_modules(path, "Dense"), "mean", word_embedding_dimension=WIDTH)
    add_dense(path, DENSE, torch.ones(4, WIDTH), None)
    return path


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_directory_is_refused_by_the_name_of_the_file(mine: Path, name: str) -> None:
    open_checkpoint(mine)
    damage, complaint = BROKEN[name]
    damage(mine)
    with pytest.raises(InvalidRequest, match=complaint) as caught:
        open_checkpoint(mine)
    assert caught.value.field == "checkpoint"
    assert caught.value.message.startswith(str(mine))
    assert "\n" not in caught.value.message


@pytest.mark.parametrize("architecture", ["DistilBertModel", "DistilBertForMaskedLM", None])
def test_modules_make_an_embedder_of_any_transformer(mine: Path, architecture: str | None) -> None:
    edit(mine / "config.json", architectures=[architecture] if architecture else None)
    assert open_checkpoint(mine).task is Task.FEATURE_EXTRACTION


def test_a_classifier_stays_one_whatever_modules_lie_beside_it(tmp_path: Path) -> None:
    path = write(tmp_path / "mine", "distilbert")
    add_pooling(add_modules(path), "mean")
    checkpoint = open_checkpoint(path)
    assert (checkpoint.task, checkpoint.modules) == (Task.TEXT_CLASSIFICATION, None)
