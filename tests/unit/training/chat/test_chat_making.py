"""How a chat model begins, what it reads, and what its card says of it."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

import torch

from sluice.training.card import Training
from sluice.training.chat import chat_checkpoint, chat_corpus
from sluice.training.chat.chat_card import ChatMeasured, write_card, write_quality
from sluice.training.chat.chat_format import MAX_TOKENS, train_tokenizer
from sluice.training.chat.chat_making import ChatMaking
from sluice.training.chat.conversation import converse
from sluice.training.chat.evaluation import ChatQuality
from sluice.training.chat.recipe import CHAT_RECIPES
from sluice.training.making import CannotMake
from sluice.training.trainer import Course

pytestmark = pytest.mark.torch
FULL, COPY = CHAT_RECIPES["chat"], CHAT_RECIPES["chat-distilled"]


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return train_tokenizer(text for one in converse("train", 50, seed=3) for text in (one.mail.text, one.reply))


def making(out: Path) -> ChatMaking:
    return ChatMaking(
        out=out / "out",
        teachers=out / "shipped",
        seed=7,
        device=torch.device("cpu"),
        precision="fp32",
        tests=chat_corpus.draw_tests(7, scale=0.0),
        conversations=1000,
        max_new_tokens=8,
    )


def test_both_are_one_architecture_in_two_depths(tokenizer: Any) -> None:
    shared = {"vocab_size": len(tokenizer)}
    full, copy = (recipe.config(shared).to_dict() for recipe in (FULL, COPY))
    assert {key for key in full if full[key] != copy[key]} == {"num_hidden_layers"}
    assert full["max_position_embeddings"] == MAX_TOKENS
    assert COPY.taught is not None
    assert len(COPY.taught.layers) == copy["num_hidden_layers"]
    assert isinstance(COPY.course(7), Course)


def test_the_copy_begins_as_layers_of_its_teacher_and_shares_no_weight_with_it(tmp_path: Path, tokenizer: Any) -> None:
    run = making(tmp_path)
    chat_checkpoint.save(chat_checkpoint.build(FULL, tokenizer, seed=1), tokenizer, run.teachers / FULL.name)
    teacher, _ = chat_checkpoint.load(run.teachers / FULL.name)
    copy, objective = run._beginning(COPY, tokenizer)
    assert COPY.taught is not None
    # By other means: the teacher with the others taken out of its list computes what the copy computes.
    ids = torch.tensor([[5, 6, 7, 8]])
    teacher.model.layers = torch.nn.ModuleList(teacher.model.layers[place] for place in COPY.taught.layers)
    with torch.no_grad():
        torch.testing.assert_close(copy(input_ids=ids).logits, teacher(input_ids=ids, use_cache=False).logits)
    assert copy.generation_config.eos_token_id == tokenizer.eos_token_id
    assert {id(one) for one in copy.parameters()}.isdisjoint(id(one) for one in objective._teacher.parameters())


def test_a_copy_whose_teacher_is_not_there_is_not_begun(tmp_path: Path) -> None:
    with pytest.raises(CannotMake, match="support-chat-light learns from support-chat-full, which is not in"):
        making(tmp_path).teacher(COPY)
    assert making(tmp_path).teacher(FULL) is None


def test_no_more_conversations_are_written_than_a_model_reads(tmp_path: Path) -> None:
    run = making(tmp_path)
    assert run.read_by(replace(FULL, steps=10, batch_size=8)) == 80
    assert run.read_by(FULL) == 1000


def test_a_checkpoint_comes_back_with_its_template_and_its_end(tmp_path: Path, tokenizer: Any) -> None:
    model = chat_checkpoint.build(COPY, tokenizer, seed=1)
    again = chat_checkpoint.build(COPY, tokenizer, seed=1)
    assert all(torch.equal(one, other) for one, other in zip(model.parameters(), again.parameters(), strict=True))
    chat_checkpoint.save(model, tokenizer, tmp_path / "made")
    loaded, theirs = chat_checkpoint.load(tmp_path / "made")
    assert loaded.dtype is torch.float32
    assert loaded.generation_config.eos_token_id == tokenizer.eos_token_id
    assert theirs.chat_template == tokenizer.chat_template
    for one, other in zip(model.parameters(), loaded.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-6)


def quality(right: float) -> ChatQuality:
    return ChatQuality(
        examples=20,
        right=right,
        ended=0.95,
        in_its_language=0.9,
        on_its_intent=0.85,
        details_right=0.8,
        orders_right=0.75,
        replies_with_order=4,
        by_complexity=(0.5, 0.25, 0.2, 0.1, 0.1, 0.1, 0.1, math.nan),
        examples_by_complexity=(10, 4, 1, 1, 1, 1, 2, 0),
        by_language={"en": 0.5, "zh": 0.25},
    )


MEASURED = ChatMeasured(
    seen=quality(0.5),
    held_out=replace(quality(0.25), orders_right=math.nan),
    overall=quality(0.375),
    seen_perplexity=1.2,
    held_out_perplexity=2.5,
    wrong=[],
)


@pytest.mark.parametrize(("key", "device"), [("chat", "cuda"), ("chat-distilled", "cpu")])
def test_a_card_says_what_was_done_where_and_what_came_of_it(tmp_path: Path, key: str, device: str) -> None:
    recipe = CHAT_RECIPES[key]
    (tmp_path / "model.safetensors").write_bytes(b"0" * 1_000_000)
    precision = "fp32" if device == "cpu" else "bf16"
    training = Training(
        seed=7, steps=recipe.steps, messages=1234, parameters=2_000_000, precision=precision, device=device
    )
    write_quality(tmp_path, recipe, MEASURED, training)
    write_card(tmp_path, key, recipe, MEASURED, training)
    stated = json.loads((tmp_path / "quality.json").read_text(encoding="utf-8"))
    assert (stated["quality"], stated["seen_quality"], stated["held_out_quality"]) == (0.375, 0.5, 0.25)
    assert (stated["training_device"], stated["training_precision"]) == (device, precision)
    # Of what there is none of nothing can be said.
    assert "quality_by_complexity" not in stated
    assert (stated["seen_orders_right"], stated.get("held_out_orders_right")) == (0.75, None)
    card = (tmp_path / "README.md").read_text(encoding="utf-8")
    assert "| right in all of it | 0.500 | 0.250 |" in card
    assert "`model.safetensors` 1.0 MB" in card
    assert f"--only {key} --seed 7`: 1,234 conversations" in card
    where = "fp32 on a CPU" if device == "cpu" else "bf16 autocast on a cuda device"
    assert f"{recipe.steps} steps of {recipe.batch_size}, AdamW at {recipe.learning_rate:g}" in card
    assert where in card
    assert ("It begins as layers 1, 2, 6 of `support-chat-full`" in card) is (key == "chat-distilled")
    assert stated.get("teacher") == ("support-chat-full" if key == "chat-distilled" else None)
