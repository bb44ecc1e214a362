"""What a student is told to bring down: written out by hand for a few numbers, and learned from by a small model."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("torch")

import torch

from sluice.training.encoding import UNLABELLED, Batch
from sluice.training.objective import HardLabels, Imitation, SoftTargets, binary_divergence, divergence

pytestmark = pytest.mark.torch
WANTED = [[2.0, 0.0, -1.0], [0.5, 0.5, 0.0]]
SAID = [[1.0, 0.5, 0.0], [0.0, 2.0, -2.0]]


def softmax(row: list[float], temperature: float = 1.0) -> list[float]:
    powers = [math.exp(value / temperature) for value in row]
    return [power / sum(powers) for power in powers]


def kl(wanted: list[float], said: list[float]) -> float:
    return sum(p * math.log(p / q) for p, q in zip(wanted, said, strict=True))


def batch(*labels: int) -> Batch:
    ids = torch.ones(len(labels), 4, dtype=torch.long)
    return Batch(ids, ids, torch.tensor(labels))


def output(rows: list[list[float]]) -> Any:
    return SimpleNamespace(logits=torch.tensor(rows))


@pytest.mark.parametrize("temperature", [1.0, 2.0, 5.0])
def test_soft_targets_are_the_divergence_at_a_temperature_times_its_square(temperature: float) -> None:
    loss = SoftTargets(temperature=temperature, alpha=0.0)(output(SAID), output(WANTED), batch(0, 1))
    pairs = [(softmax(w, temperature), softmax(s, temperature)) for w, s in zip(WANTED, SAID, strict=True)]
    assert loss.item() == pytest.approx(temperature**2 * sum(kl(*pair) for pair in pairs) / 2, rel=1e-5)


def test_a_right_label_weighs_alpha_and_a_text_without_one_only_the_teacher() -> None:
    soft = [kl(softmax(w), softmax(s)) for w, s in zip(WANTED, SAID, strict=True)]
    hard = -math.log(softmax(SAID[0])[2])
    loss = SoftTargets(temperature=1.0, alpha=0.25)(output(SAID), output(WANTED), batch(2, UNLABELLED))
    assert loss.item() == pytest.approx((0.75 * soft[0] + 0.25 * hard + soft[1]) / 2, rel=1e-5)


def test_labels_that_do_not_exclude_each_other_are_compared_one_by_one() -> None:
    def yes(value: float) -> list[float]:
        return [1 / (1 + math.exp(-value)), 1 / (1 + math.exp(value))]

    by_hand = [sum(kl(yes(w), yes(s)) for w, s in zip(*rows, strict=True)) for rows in zip(WANTED, SAID, strict=True)]
    assert binary_divergence(torch.tensor(WANTED), torch.tensor(SAID)).tolist() == pytest.approx(by_hand, rel=1e-5)
    loss = SoftTargets(temperature=1.0, alpha=0.0, multi_label=True)(output(SAID), output(WANTED), batch(0, 0))
    assert loss.item() == pytest.approx(sum(by_hand) / 2, rel=1e-5)


@pytest.mark.parametrize("measure", [divergence, binary_divergence])
def test_nothing_diverges_from_itself_however_sure_it_is(measure: Any) -> None:
    extreme = torch.tensor([[80.0, -80.0, 3.0], [0.0, 0.0, 0.0]])
    assert measure(extreme, extreme).tolist() == pytest.approx([0.0, 0.0], abs=1e-6)
    assert measure(extreme, -extreme).isfinite().all()


class Model(torch.nn.Module):
    """Logits that are weights, whatever is asked; remembers what was asked."""

    def __init__(self) -> None:
        super().__init__()
        self.weights = torch.nn.Parameter(torch.tensor(SAID))
        self.asked: list[Any] = []

    def forward(self, **inputs: Any) -> Any:
        self.asked.append(inputs)
        return SimpleNamespace(logits=1 * self.weights, hidden_states=("embedded", "first"))


def test_teacher_and_student_see_the_same_disturbed_text_and_only_the_student_learns() -> None:
    student, teacher = Model(), Model()
    with torch.no_grad():
        teacher.weights.copy_(torch.tensor(WANTED))

    def disturb(given: Batch) -> Batch:
        return Batch(given.ids + torch.randint(5, given.ids.shape), given.mask, given.labels)

    seen: list[tuple[Any, Any]] = []

    def hidden(said: Any, wanted: Any, shown: Batch) -> Any:
        seen.append((said.hidden_states, wanted.hidden_states))
        return torch.tensor(10.0)

    soft = SoftTargets(temperature=1.0, alpha=0.0)
    objective = Imitation(teacher.train(), [soft, hidden], hidden_states=True, disturb=disturb)
    loss = objective(student, batch(0, 0))
    loss.backward()
    assert torch.equal(student.asked[0]["input_ids"], teacher.asked[0]["input_ids"])
    assert seen == [(("embedded", "first"), ("embedded", "first"))]
    assert loss.item() == pytest.approx(10.0 + soft(output(SAID), output(WANTED), batch(0, 0)).item())
    assert student.weights.grad is not None
    assert teacher.weights.grad is None
    assert not teacher.training


def test_hard_labels_are_cross_entropy() -> None:
    loss = HardLabels()(Model(), batch(2, 1))
    by_hand = [-math.log(softmax(SAID[0])[2]), -math.log(softmax(SAID[1])[1])]
    assert loss.item() == pytest.approx(sum(by_hand) / 2, rel=1e-5)
