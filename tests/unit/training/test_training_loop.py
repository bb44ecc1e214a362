"""Encoding, training and measuring, on models small enough to learn within a second."""

from __future__ import annotations

import math
from dataclasses import replace
from random import Random
from types import SimpleNamespace
from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

pytestmark = pytest.mark.torch


@pytest.fixture(scope="module")
def task() -> SimpleNamespace:
    """Sixty messages of a toy language, their tokenizer, and a small recipe."""
    from transformers import DistilBertConfig

    from sluice.training.dataset import generate
    from sluice.training.recipe import RECIPES
    from sluice.training.tokenizer import train_tokenizer
    from tests.unit.training.toybook import LABELS, toybook

    messages = [one for one in generate("train", 480, book=toybook(), seed=1) if one.complexity == 0]
    tokenizer = train_tokenizer(one.text for one in messages)
    sizes = {"dim": 32, "hidden_dim": 64, "n_layers": 1, "n_heads": 2, "max_position_embeddings": 320}
    recipe = replace(
        RECIPES["light"],
        config=lambda shared: DistilBertConfig(**sizes, **_without_ends(shared)),
        steps=120,
        batch_size=16,
        learning_rate=2e-2,
    )
    return SimpleNamespace(messages=messages, tokenizer=tokenizer, recipe=recipe, labels=LABELS)


def _without_ends(shared: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in shared.items() if key not in {"bos_token_id", "eos_token_id"}}


def test_encoding_keeps_every_token_and_pads_to_the_longest_of_a_batch(task: SimpleNamespace) -> None:
    from sluice.training.encoding import encode_messages, ordered_rows

    encoded = encode_messages(task.messages, task.tokenizer, task.labels)
    assert len(encoded) == len(task.messages)
    seen = []
    for rows in ordered_rows(encoded, 7):
        batch = encoded.batch(rows)
        ids, mask, labels = batch.ids, batch.mask, batch.labels
        assert ids.shape[1] == int(mask.sum(1).max())
        for row, (numbers, present, label) in zip(rows.tolist(), zip(ids, mask, labels, strict=True), strict=True):
            message = task.messages[row]
            assert numbers[present.bool()].tolist() == task.tokenizer(message.text)["input_ids"]
            assert task.labels[int(label)] == message.label
            seen.append(row)
    assert sorted(seen) == list(range(len(task.messages)))


def test_every_epoch_shows_every_message_once_in_another_order(task: SimpleNamespace) -> None:
    from sluice.training.encoding import encode_messages, shuffled_rows

    encoded = encode_messages(task.messages, task.tokenizer, task.labels)
    batches = shuffled_rows(encoded, 8, Random(0))
    number = math.ceil(len(encoded) / 8)
    first, second = ([row for _ in range(number) for row in next(batches).tolist()] for _ in range(2))
    assert sorted(first) == sorted(second) == list(range(len(encoded)))
    assert first != second


def trained(task: SimpleNamespace, *, seed: int) -> tuple[Any, list[float]]:
    from sluice.training.checkpoint import build
    from sluice.training.disturbance import Disturbance
    from sluice.training.encoding import encode_messages
    from sluice.training.objective import HardLabels
    from sluice.training.trainer import Trainer

    model = build(task.recipe, task.tokenizer, task.labels, seed=seed)
    trainer = Trainer(
        model,
        HardLabels(Disturbance(vocabulary=len(task.tokenizer), mask_id=task.tokenizer.mask_token_id)),
        encode_messages(task.messages, task.tokenizer, task.labels),
        task.recipe.course(seed),
        device=torch.device("cpu"),
        precision="fp32",
    )
    losses: list[float] = []
    trainer.run(lambda _, loss: losses.append(loss or 0.0))
    return model, losses


def test_training_learns_is_repeatable_and_what_is_measured_is_what_was_saved(
    task: SimpleNamespace, tmp_path: Any
) -> None:
    from sluice.training.checkpoint import load, save
    from sluice.training.evaluation import measure, torch_predictor

    model, losses = trained(task, seed=1)
    assert len(losses) == task.recipe.steps == 120
    assert sum(losses[-20:]) < sum(losses[:20]) / 2
    again, _ = trained(task, seed=1)
    for one, other in zip(model.parameters(), again.parameters(), strict=True):
        assert torch.equal(one, other)
    assert not model.training
    save(model, task.tokenizer, tmp_path / "toy")
    quality = measure(torch_predictor(*load(tmp_path / "toy")), task.messages, task.labels)
    assert quality.accuracy > 0.9
    assert quality.by_complexity[0] == quality.accuracy
    assert all(math.isnan(share) for share in quality.by_complexity[1:])
    assert quality.examples_by_complexity == (len(task.messages), 0, 0, 0, 0, 0, 0, 0)


def test_accuracy_is_the_share_of_right_answers_in_each_group(task: SimpleNamespace) -> None:
    from sluice.training.evaluation import measure

    messages = [
        SimpleNamespace(text="a", label="apple", language="en", complexity=0),
        SimpleNamespace(text="bb", label="plum", language="en", complexity=0),
        SimpleNamespace(text="ccc", label="apple", language="zh", complexity=7),
    ]
    quality = measure(lambda texts: torch.zeros(len(texts)).long().numpy(), messages, task.labels)  # type: ignore[arg-type]
    assert (quality.accuracy, quality.examples) == (0.6667, 3)
    assert (quality.by_complexity[0], quality.by_complexity[7]) == (0.5, 1.0)
    assert quality.by_language == {"en": 0.5, "zh": 1.0}


def test_an_expert_that_is_asked_too_often_is_asked_less() -> None:
    from sluice.training.expert_balance import ExpertBalance

    class Router(torch.nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("e_score_correction_bias", torch.zeros(3))

        def forward(self, chosen: Any) -> tuple[None, None, Any]:
            return None, None, chosen

    router = Router().train()
    balance = ExpertBalance(router)
    router(torch.tensor([[0, 0], [0, 1], [0, 1]]))
    balance.step()
    busy, fair, idle = router.e_score_correction_bias.tolist()
    assert busy < 0 < idle
    assert fair == 0
    balance.close()
    router(torch.tensor([[0, 0]]))
    assert not balance._loads
