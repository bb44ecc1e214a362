"""How answers are judged: by labels, or by where vectors point."""

from __future__ import annotations

import numpy as np
import pytest

from sluice.compression.quality import Quality, likeness, rightness
from sluice.domain.errors import WorkerFailed
from sluice.worker.execution.backend import Classification, Embedding, Output


def embedded(*rows: tuple[float, ...]) -> list[Output]:
    return [Embedding(row) for row in rows]


def test_an_answer_is_right_by_its_label_and_a_failure_is_wrong() -> None:
    outputs: list[Output] = [
        Classification("a", 0.9),
        Classification("b", 0.9),
        WorkerFailed("no"),
        Classification("c", 1.0),
    ]
    quality = rightness(outputs, ("a", "c", "a", "c"))
    assert quality == Quality(accuracy=0.5)
    assert (quality.measure, quality.value) == ("accuracy", 0.5)


def test_cosines_are_of_direction_and_not_of_length() -> None:
    original = embedded((1.0, 0.0), (0.0, 2.0), (3.0, 4.0))
    quality = likeness(embedded((5.0, 0.0), (0.0, 0.1), (4.0, 3.0)), original)
    assert quality.cosine == pytest.approx((1 + 1 + 0.96) / 3)
    assert quality.least_cosine == pytest.approx(0.96)
    assert (quality.measure, quality.value) == ("cosine", quality.cosine)


def test_what_has_no_vector_any_more_counts_as_nothing_like_it() -> None:
    outputs: list[Output] = [*embedded((1.0, 0.0)), WorkerFailed("no number")]
    assert likeness(outputs, embedded((1.0, 0.0), (0.0, 1.0))).cosine == pytest.approx(0.5)


def test_opposite_vectors_are_no_quality_at_all() -> None:
    quality = likeness(embedded((-1.0, 0.0)), embedded((1.0, 0.0)))
    assert (quality.cosine, quality.value, quality.same_neighbour) == (-1.0, 0.0, None)


def test_neighbours_tell_what_cosines_hide() -> None:
    # All vectors lie close together, as those of untrained models do; the result turns each but a little.
    original = embedded((1.0, 0.00), (1.0, 0.01), (1.0, 0.03), (1.0, 0.04))
    moved = embedded((1.0, 0.00), (1.0, 0.02), (1.0, 0.025), (1.0, 0.045))
    quality = likeness(moved, original)
    assert quality.cosine == pytest.approx(1.0, abs=1e-3)
    # The first still has the second nearest; the second has the third instead, and the third the second.
    assert quality.same_neighbour == pytest.approx(0.5)


def test_neighbours_are_found_across_many_texts() -> None:
    # Texts are nearest to each other in pairs; from the thousandth on, each text's other half is another one.
    angles = np.arange(1300) // 2 * 0.004 + np.arange(1300) % 2 * 0.001
    moved = np.concatenate([angles[:1000], np.roll(angles[1000:], 1)])
    original, result = (embedded(*zip(np.cos(one), np.sin(one), strict=True)) for one in (angles, moved))
    assert likeness(original, original).same_neighbour == 1.0
    assert likeness(result, original).same_neighbour == pytest.approx(1000 / 1300)


def test_nothing_measured_has_no_name() -> None:
    assert Quality().measure == ""
