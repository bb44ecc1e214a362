"""Agreement, divergence and accuracy, by hand for a few texts; and the ways to be like a teacher beside its labels."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from sluice.distillation.fidelity import Closeness, Scale
from sluice.distillation.likeness import SameHiddenStates, SameVectors
from sluice.distillation.texts import Text
from sluice.training.encoding import Batch

pytestmark = pytest.mark.torch
HALF = math.log(3)  # the logit of 3 : 1


def test_agreement_and_divergence_are_means_over_the_texts_of_a_bucket() -> None:
    wanted = torch.tensor([[HALF, 0.0], [HALF, 0.0], [0.0, HALF]])
    said = torch.tensor([[HALF, 0.0], [0.0, HALF], [0.0, 0.0]])
    texts = [Text("a", bucket=0), Text("b", bucket=7), Text("c", bucket=7)]
    fidelity = Scale(wanted, texts, torch.ones(3).long(), kind="exclusive").fidelity(said)
    turned = 0.75 * math.log(3) - 0.25 * math.log(3)
    flat = 0.75 * math.log(1.5) + 0.25 * math.log(0.5)
    assert fidelity.bucketed_by == "complexity"
    assert fidelity.by_bucket[0] == Closeness(1, 1.0, 0.0)
    # Of two equal logits the first is the best.
    assert fidelity.by_bucket[7] == Closeness(2, 0.0, round((turned + flat) / 2, 4))
    assert fidelity.by_bucket[1:7] == (Closeness(0),) * 6
    assert fidelity.overall == Closeness(3, 0.3333, round((turned + flat) / 3, 4))


def test_a_text_of_unknown_complexity_counts_only_overall() -> None:
    scale = Scale(torch.eye(2), [Text("a", bucket=1), Text("b")], torch.ones(2).long(), kind="exclusive")
    assert scale.examples == (0, 1, 0, 0, 0, 0, 0, 0)
    assert scale.fidelity(torch.eye(2)).overall.examples == 2


def test_without_any_complexity_buckets_are_lengths() -> None:
    lengths = torch.tensor([1, 8, 9, 64, 57])
    scale = Scale(torch.zeros(5, 2), [Text("a")] * 5, lengths, kind="exclusive")
    assert scale.fidelity(torch.zeros(5, 2)).bucketed_by == "length"
    assert scale.examples == (2, 1, 0, 0, 0, 0, 0, 2)


def test_labels_that_do_not_exclude_each_other_agree_one_by_one() -> None:
    scale = Scale(torch.tensor([[1.0, -1.0, 2.0, 3.0]]), [Text("a")], torch.ones(1).long(), kind="multi_label")
    assert scale.fidelity(torch.tensor([[2.0, -3.0, -1.0, 1.0]])).overall.agreement == 0.75


def test_vectors_agree_by_their_cosine() -> None:
    scale = Scale(torch.tensor([[3.0, 4.0]]), [Text("a")], torch.ones(1).long(), kind="vectors")
    assert scale.fidelity(torch.tensor([[6.0, 8.0]])).overall == Closeness(1, 1.0, 1.0)
    assert scale.fidelity(torch.tensor([[4.0, -3.0]])).overall == Closeness(1, 0.0, 2.0)
    assert scale.accuracy(torch.tensor([[6.0, 8.0]])) is None


def test_accuracy_is_measured_where_every_text_has_a_label() -> None:
    said = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    texts = [Text("a", 0, 0), Text("b", 1, 0), Text("c", 1, 3)]
    accuracy = Scale(said, texts, torch.ones(3).long(), kind="exclusive").accuracy(said)
    assert accuracy is not None
    assert accuracy.overall == 0.6667
    assert accuracy.by_bucket == (0.5, None, None, 1.0, None, None, None, None)
    assert Scale(said, [*texts[:2], Text("c")], torch.ones(3).long(), kind="exclusive").accuracy(said) is None


def batch(*lengths: int) -> Batch:
    mask = (torch.arange(max(lengths))[None] < torch.tensor(lengths)[:, None]).long()
    return Batch(mask, mask, torch.zeros(len(lengths)).long())


def test_the_distance_of_vectors_is_a_share_of_the_teachers_length() -> None:
    wanted = SimpleNamespace(last_hidden_state=torch.tensor([[[2.0, 0.0], [0.0, 2.0]], [[3.0, 4.0], [9.0, 9.0]]]))
    said = SimpleNamespace(last_hidden_state=torch.tensor([[[2.0, 0.0], [0.0, 4.0]], [[3.0, 4.0], [1.0, 1.0]]]))
    # Means of the attended tokens: (1, 1) and (1, 2); then (3, 4) twice.
    assert SameVectors(("mean",))(said, wanted, batch(2, 1)).item() == pytest.approx((1 / 2 + 0) / 2)


def states(*values: float) -> Any:
    return SimpleNamespace(hidden_states=tuple(torch.full((1, 3, 2), value) for value in values))


def test_each_layer_is_compared_with_the_one_that_it_was() -> None:
    wanted = states(1.0, 10.0, 20.0, 30.0, 40.0)
    likeness = SameHiddenStates((0, 3), of=4, weight=0.5)
    assert likeness(states(1.0, 10.0, 40.0), wanted, batch(3)).item() == 0.0
    by_hand = ((2 - 1) ** 2 / 1 + (20 - 10) ** 2 / 10**2 + (20 - 40) ** 2 / 40**2) / 3
    assert likeness(states(2.0, 20.0, 20.0), wanted, batch(3)).item() == pytest.approx(0.5 * by_hand)


def test_one_layer_alone_is_to_give_what_the_last_one_gives() -> None:
    assert SameHiddenStates((0,), of=3, weight=1.0)(states(1.0, 9.0), states(1.0, 2.0, 3.0, 9.0), batch(3)).item() == 0


def test_what_is_computed_at_the_padding_is_nobodys_business() -> None:
    said, wanted = states(1.0, 2.0), states(1.0, 2.0)
    said.hidden_states[1].requires_grad_()
    for one in (said, wanted):
        with torch.no_grad():
            one.hidden_states[1][:, 2] = float("nan")
    loss = SameHiddenStates((0,), of=1, weight=1.0)(
        said, wanted, Batch(*[torch.tensor([[1, 1, 0]])] * 2, torch.zeros(1))
    )
    loss.backward()
    assert loss.item() == 0.0
    assert said.hidden_states[1].grad.isfinite().all()
