"""From logits to labels, by hand-written numbers."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sluice.domain.errors import WorkerFailed
from sluice.engine.encoder.heads import ClassificationHead, probabilities_of
from sluice.worker.execution.backend import Classification, Item, Output

pytestmark = pytest.mark.torch


def outputs_of(logits: list[list[float]], *, top_k: int = 0, multi_label: bool = False) -> list[Output]:
    head = ClassificationHead("abc"[: len(logits[0])], multi_label=multi_label)
    mask = torch.ones(len(logits), 1)
    return head.outputs(torch.tensor(logits, dtype=torch.float32), mask, [Item("", top_k)] * len(logits))


def test_probabilities_are_those_of_the_textbook() -> None:
    (output,) = outputs_of([[np.log(1.0), np.log(2.0), np.log(5.0)]], top_k=3)
    assert isinstance(output, Classification)
    assert output.label == "c"
    assert output.score == pytest.approx(0.625)
    assert dict(output.scores) == pytest.approx({"a": 0.125, "b": 0.25, "c": 0.625})
    assert [label for label, _ in output.scores] == ["c", "b", "a"]


def test_great_logits_neither_overflow_nor_warn() -> None:
    (output,) = outputs_of([[3e38, -3e38, 0.0]])
    assert output == Classification("a", 1.0)
    assert probabilities_of(np.array([[-3e38, 3e38]], np.float32), multi_label=True).tolist() == [[0.0, 1.0]]


def test_of_equal_labels_the_first_wins_and_stands_first() -> None:
    (output,) = outputs_of([[1.0, 1.0, 1.0]], top_k=2)
    assert isinstance(output, Classification)
    assert output.label == "a"
    assert [label for label, _ in output.scores] == ["a", "b"]


def test_independent_labels_get_the_logistic_function_each() -> None:
    (output,) = outputs_of([[0.0, np.log(3.0)]], top_k=2, multi_label=True)
    assert isinstance(output, Classification)
    assert output.label == "b"
    assert dict(output.scores) == pytest.approx({"a": 0.5, "b": 0.75})


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("multi_label", [False, True])
def test_a_row_that_is_no_number_is_a_failure_and_no_label(number: float, multi_label: bool) -> None:
    failed, fine = outputs_of([[0.0, number], [1.0, 0.0]], multi_label=multi_label)
    assert isinstance(failed, WorkerFailed)
    assert isinstance(fine, Classification)
