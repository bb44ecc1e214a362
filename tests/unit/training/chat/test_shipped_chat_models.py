"""The shipped chat models answer as their cards say, by transformers' own `generate`, and their cards say one thing."""

from __future__ import annotations

import json
import math
import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

import torch

from sluice.training.chat import chat_checkpoint
from sluice.training.chat.conversation import Conversation, converse
from sluice.training.chat.evaluation import MAX_NEW_TOKENS, greedy_writer, judge, perplexity, quality_of
from sluice.training.chat.reading import language_of, reader
from sluice.training.chat.recipe import CHAT_RECIPES

pytestmark = pytest.mark.torch
CPU = torch.device("cpu")
MODELS = Path(__file__).resolve().parents[4] / "models"
# Conversations that neither training nor the cards have seen.
SAMPLE_SEED = 424242
SAMPLED = 32
STANDARD_ERRORS = 4.0
MAILS = [
    ("I never got my parcel. Where is order A1234?", "en", "order_status", "A1234"),
    ("I ordered the toaster by mistake, please cancel order #482913.", "en", "cancel_order", "#482913"),
    ("The blender arrived broken, so I want my money back.", "en", "refund_status", ""),
    ("The sweater does not fit. I would like to send it back.", "en", "return_item", ""),
    ("I want to speak to a real person.", "en", "speak_to_human", ""),
    ("我的包裹一直没到，订单A1234到哪了？", "zh", "order_status", "A1234"),
    ("我下错单了，请取消订单#482913。", "zh", "cancel_order", "#482913"),
    ("我要找人工客服。", "zh", "speak_to_human", ""),
]


def directory(key: str) -> Path:
    return MODELS / CHAT_RECIPES[key].name


def stated(key: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((directory(key) / "quality.json").read_text(encoding="utf-8"))
    return content


def card(key: str) -> str:
    return (directory(key) / "README.md").read_text(encoding="utf-8")


@cache
def loaded(key: str) -> tuple[Any, Any]:
    return chat_checkpoint.load(directory(key))


@cache
def sample() -> list[Conversation]:
    return converse("test_seen", SAMPLED, seed=SAMPLE_SEED)


@pytest.mark.parametrize("key", CHAT_RECIPES)
def test_mails_are_answered_in_their_language_about_what_they_want(key: str) -> None:
    model, tokenizer = loaded(key)
    chats = [[{"role": "user", "content": mail}] for mail, *_ in MAILS]
    ids = tokenizer.apply_chat_template(chats, add_generation_prompt=True, padding=True, return_tensors="pt")
    written = model.generate(**ids, max_new_tokens=MAX_NEW_TOKENS)[:, ids["input_ids"].shape[1] :]
    assert (written == tokenizer.eos_token_id).any(1).all()
    replies = tokenizer.batch_decode(written, skip_special_tokens=True)
    for (mail, language, intent, order), reply in zip(MAILS, replies, strict=True):
        assert (language_of(reply), reader().intents(reply)) == (language, {intent}), (mail, reply)
        assert order in reply


@pytest.mark.parametrize("key", CHAT_RECIPES)
def test_fresh_mails_are_answered_as_well_as_the_card_says(key: str) -> None:
    write = greedy_writer(*loaded(key), CPU, max_new_tokens=MAX_NEW_TOKENS)
    right = quality_of(judge(write, [one.mail for one in sample()])).right
    said = stated(key)["seen_quality"]
    assert abs(right - said) <= STANDARD_ERRORS * math.sqrt(said * (1 - said) / SAMPLED)


@pytest.mark.parametrize("key", CHAT_RECIPES)
def test_fresh_replies_surprise_as_little_as_the_card_says(key: str) -> None:
    surprise = math.log(perplexity(*loaded(key), sample(), CPU))
    assert surprise == pytest.approx(math.log(stated(key)["seen_perplexity"]), rel=0.5)


def test_the_copy_is_smaller_and_reads_the_same_tokens_and_turns() -> None:
    sizes = [(directory(key) / "model.safetensors").stat().st_size for key in CHAT_RECIPES]
    assert sizes[1] < 0.6 * sizes[0]
    tokenizers = [loaded(key)[1] for key in CHAT_RECIPES]
    assert tokenizers[0].get_vocab() == tokenizers[1].get_vocab()
    assert tokenizers[0].chat_template == tokenizers[1].chat_template


@pytest.mark.parametrize("key", CHAT_RECIPES)
def test_a_checkpoint_is_of_its_recipe_and_needs_no_code_of_ours(key: str) -> None:
    stored = json.loads((directory(key) / "config.json").read_text(encoding="utf-8"))
    wanted = CHAT_RECIPES[key].config({}).to_dict()
    sizes = ("hidden_size", "num_hidden_layers", "n_routed_experts", "kv_lora_rank", "max_position_embeddings")
    assert {name: stored[name] for name in sizes} == {name: wanted[name] for name in sizes}
    assert stored["architectures"] == ["DeepseekV3ForCausalLM"]
    assert "auto_map" not in stored


def test_a_chat_model_has_at_most_16_megabytes_and_all_models_have_30() -> None:
    sizes = {
        place.name: sum(file.stat().st_size for file in place.rglob("*"))
        for place in MODELS.iterdir()
        if place.is_dir()
    }
    assert {recipe.name for recipe in CHAT_RECIPES.values()} < set(sizes)
    assert max(sizes.values()) <= 16_000_000
    assert sum(sizes.values()) <= 30_000_000


@pytest.mark.parametrize("key", CHAT_RECIPES)
def test_a_card_names_the_recipe_that_the_command_in_it_would_follow(key: str) -> None:
    said, recipe = stated(key), CHAT_RECIPES[key]
    assert (said["model"], said["tier"], said["precision"]) == (recipe.name, recipe.tier, "fp32")
    assert said["training_steps"] == recipe.steps
    assert f"--only {key} --seed {said['training_seed']}`" in card(key)
    assert f"{recipe.steps} steps of {recipe.batch_size}, AdamW at {recipe.learning_rate:g}" in card(key)
    place = "CPU" if said["training_device"] == "cpu" else f"{said['training_device']} device"
    assert f"on a {place}," in card(key)


@pytest.mark.parametrize("key", CHAT_RECIPES)
def test_a_card_and_quality_json_state_the_same_figures(key: str) -> None:
    said, written = stated(key), card(key)
    names = ("quality", "on_intent", "in_language", "details_right", "orders_right", "ended", "perplexity", "examples")
    rows = re.findall(r"^\| [^|]+ \| ([\d.]+) \| ([\d.]+) \|$", written, re.MULTILINE)[: len(names)]
    for name, (seen, held_out) in zip(names, rows, strict=True):
        assert float(seen) == pytest.approx(said[f"seen_{name}"], abs=0.00051)
        assert float(held_out) == pytest.approx(said[f"held_out_{name}"], abs=0.00051)
    buckets = re.findall(r"^\| (\d) \| ([\d.]+) \| (\d+) \|$", written, re.MULTILINE)
    assert [int(bucket) for bucket, _, _ in buckets] == list(range(8))
    assert [float(share) for _, share, _ in buckets] == pytest.approx(said["quality_by_complexity"], abs=0.00051)
    assert [int(count) for _, _, count in buckets] == said["examples_by_complexity"]
    assert f"both test splits {said['quality']:.3f} are right" in written
