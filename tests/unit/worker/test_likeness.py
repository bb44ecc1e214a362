"""What a distilled copy must share with its full model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from sluice.domain.enums import Task, Tier
from sluice.domain.errors import InvalidRequest, WorkerFailed
from sluice.worker.execution.backend import Classification, Embedding, Item, ModelSpec, Output
from sluice.worker.models.compatibility import ModelSignature, check_compatible, signature_of
from tests.unit.worker.bench import ScriptedBackend, echo

FULL = ModelSignature(task=Task.TEXT_CLASSIFICATION, labels=frozenset({"a", "b"}), max_tokens=320, width=0)
SPEC = ModelSpec(model="m", tier=Tier.LIGHT, checkpoint=Path())


@pytest.mark.parametrize("change", [{}, {"max_tokens": 512}])
def test_what_takes_and_gives_as_much_can_stand_for_it(change: dict[str, int]) -> None:
    check_compatible(replace(FULL, **change), FULL)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"task": Task.FEATURE_EXTRACTION}, "it does feature_extraction"),
        ({"labels": frozenset({"a", "c"})}, "labels differ in b, c"),
        ({"labels": frozenset({"a"})}, "labels differ in b"),
        ({"labels": frozenset()}, "labels differ"),
        ({"width": 8}, "vectors have 8 numbers"),
        ({"max_tokens": 128}, "takes 128 tokens"),
    ],
)
def test_what_does_not_cannot(change: dict[str, object], problem: str) -> None:
    with pytest.raises(InvalidRequest, match=problem) as caught:
        check_compatible(replace(FULL, **change), FULL)  # type: ignore[arg-type]
    assert caught.value.field == "distilled"


def vectors(items: Sequence[Item]) -> list[Output]:
    return [Embedding((0.0,) * 8) for _ in items]


def short_ones_only(items: Sequence[Item]) -> list[Output]:
    return [WorkerFailed("no number") if len(item.text) > 100 else Classification("a", 1.0) for item in items]


def test_a_backend_is_looked_at_through_its_answers() -> None:
    assert signature_of(ScriptedBackend(SPEC, vectors)).width == 8
    plain = signature_of(ScriptedBackend(SPEC, echo))
    assert (plain.width, plain.task, plain.max_tokens) == (0, Task.TEXT_CLASSIFICATION, 512)


def test_a_model_that_computes_no_number_for_a_long_text_is_found_out_before_it_serves() -> None:
    with pytest.raises(InvalidRequest, match="no number"):
        signature_of(ScriptedBackend(SPEC, short_ones_only))
