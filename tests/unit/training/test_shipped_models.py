"""The shipped models are what their cards say: small, described bucket by bucket, and as good as written."""

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
pytest.importorskip("onnxruntime")

from sluice.training import checkpoint, corpus
from sluice.training.evaluation import Predict, measure, onnx_predictor, torch_predictor
from sluice.training.making import INT8_FILE
from sluice.training.phrasebook import load
from sluice.training.recipe import RECIPES

pytestmark = pytest.mark.torch
MODELS = Path(__file__).resolve().parents[3] / "models"
# Messages that neither training nor the cards have seen, two of seen phrasings to one of held-out as in the cards.
SAMPLE_SEED = 424242
SAMPLE_SCALE = 0.07
STANDARD_ERRORS = 4.0


def directory(key: str) -> Path:
    return MODELS / RECIPES[key].name


def card(key: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((directory(key) / "quality.json").read_text(encoding="utf-8"))
    return content


@cache
def sample() -> corpus.Tests:
    return corpus.draw_tests(load(), SAMPLE_SEED, scale=SAMPLE_SCALE)


def predictor(key: str) -> Predict:
    model, tokenizer = checkpoint.load(directory(key))
    if RECIPES[key].int8:
        return onnx_predictor(directory(key) / INT8_FILE, tokenizer)
    return torch_predictor(model, tokenizer)


def assert_plausible(measured: float, stated: float, messages: int) -> None:
    error = math.sqrt(max(stated * (1 - stated), 0.001) / messages)
    assert abs(measured - stated) <= STANDARD_ERRORS * error + 0.001


@pytest.mark.parametrize("key", RECIPES)
def test_a_fresh_sample_is_answered_as_well_as_the_card_says(key: str) -> None:
    tests, predict, stated = sample(), predictor(key), card(key)
    seen, held_out = (measure(predict, part, load().labels) for part in (tests.seen, tests.held_out))
    assert seen.examples + held_out.examples >= 400
    assert_plausible(seen.accuracy, stated["seen_quality"], seen.examples)
    assert_plausible(held_out.accuracy, stated["held_out_quality"], held_out.examples)
    overall = (seen.accuracy * seen.examples + held_out.accuracy * held_out.examples) / (
        seen.examples + held_out.examples
    )
    assert_plausible(overall, stated["quality"], seen.examples + held_out.examples)


def test_the_quantized_models_card_is_reproduced_to_the_last_digit_on_its_own_messages() -> None:
    stated = card("quantized")
    tests = corpus.draw_tests(load(), stated["training_seed"])
    easiest = [message for message in tests.all if message.complexity == 0]
    quality = measure(predictor("quantized"), easiest, load().labels)
    assert quality.examples == stated["examples_by_complexity"][0]
    # Another CPU may round a sum otherwise and turn a message or two.
    assert quality.accuracy == pytest.approx(stated["quality_by_complexity"][0], abs=2.5 / quality.examples)


@pytest.mark.parametrize("key", RECIPES)
def test_a_model_has_at_most_16_megabytes_and_all_three_have_30(key: str) -> None:
    assert sum(file.stat().st_size for file in directory(key).rglob("*")) <= 16_000_000
    assert sum(file.stat().st_size for one in RECIPES for file in directory(one).rglob("*")) <= 30_000_000


@pytest.mark.parametrize("key", RECIPES)
def test_a_card_states_quality_for_every_bucket_in_both_files(key: str) -> None:
    stated = card(key)
    assert (stated["model"], stated["tier"]) == (RECIPES[key].name, RECIPES[key].tier)
    assert stated["precision"] == ("int8" if RECIPES[key].int8 else "fp32")
    readme = (directory(key) / "README.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\d) \| ([\d.]+) \| ([\d.]+) \| ([\d.]+) \| (\d+) \|$", readme, re.MULTILINE)
    assert [int(row[0]) for row in rows] == list(range(8))
    names = ("seen_quality", "held_out_quality", "quality")
    for bucket, seen, held_out, both, messages in rows:
        place = int(bucket)
        for name, written in zip(names, (seen, held_out, both), strict=True):
            assert float(written) == pytest.approx(stated[f"{name}_by_complexity"][place], abs=0.00051)
        assert int(messages) == stated["examples_by_complexity"][place] > 700


@pytest.mark.parametrize("key", RECIPES)
def test_a_card_names_the_recipe_that_the_command_in_it_would_follow(key: str) -> None:
    readme, recipe = (directory(key) / "README.md").read_text(encoding="utf-8"), RECIPES[key]
    assert f"--only {key} --seed {card(key)['training_seed']}`" in readme
    assert f"{recipe.steps} steps of {recipe.batch_size},\nAdamW at {recipe.learning_rate:g}" in readme
    assert card(key)["training_steps"] == recipe.steps


@pytest.mark.parametrize("key", RECIPES)
def test_a_checkpoint_is_of_its_recipe_and_knows_the_labels_in_order(key: str) -> None:
    stored = json.loads((directory(key) / "config.json").read_text(encoding="utf-8"))
    names = {"full": "DeepseekV3", "light": "DistilBert", "quantized": "MobileBert"}
    assert stored["architectures"] == [f"{names[key]}ForSequenceClassification"]
    assert tuple(stored["id2label"][str(place)] for place in range(15)) == load().labels
    assert "auto_map" not in stored
