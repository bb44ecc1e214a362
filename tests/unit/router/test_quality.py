"""How good a variant's answers are beside the full model's."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.router.scheduling.capacity_snapshot import BUCKETS, bucket_of, relative_quality
from sluice.domain.enums import Task, Tier
from sluice.domain.variant import Variant


def variant(tier: Tier, *by_complexity: float, quality: float | None = None) -> Variant:
    return Variant(
        id=f"m/{tier.label}",
        model="m",
        tier=tier,
        task=Task.TEXT_CLASSIFICATION,
        quality=quality,
        quality_by_complexity=by_complexity,
    )


FULL = variant(Tier.FULL, *[0.9] * 8)


def test_measured_quality_is_taken_over_the_full_models() -> None:
    light = variant(Tier.LIGHT, *[0.9] * 4, *[0.72] * 4)
    assert relative_quality(light, FULL) == pytest.approx([1.0] * 4 + [0.8] * 4)


def test_a_copy_is_never_believed_to_be_better_than_its_model() -> None:
    assert relative_quality(variant(Tier.LIGHT, *[0.99] * 8), FULL) == (1.0,) * BUCKETS


def test_fewer_buckets_are_spread_over_all() -> None:
    assert relative_quality(variant(Tier.LIGHT, 0.9, 0.45), FULL) == pytest.approx([1.0] * 4 + [0.5] * 4)
    assert relative_quality(variant(Tier.LIGHT, quality=0.45), FULL) == pytest.approx([0.5] * 8)


def test_what_is_not_measured_is_believed_to_suffer_from_complexity_by_its_tier() -> None:
    light, quantized = (relative_quality(variant(tier), FULL) for tier in (Tier.LIGHT, Tier.QUANTIZED))
    assert relative_quality(variant(Tier.FULL), None) == (1.0,) * BUCKETS
    assert list(light) == sorted(light, reverse=True)
    assert all(one < other < 1 for one, other in zip(light, quantized, strict=True))
    assert relative_quality(variant(Tier.LIGHT, *[0.9] * 8), None) == light


@given(st.floats(-1, 2))
def test_every_complexity_has_a_bucket(complexity: float) -> None:
    assert 0 <= bucket_of(complexity) < BUCKETS


def test_buckets_are_equally_wide() -> None:
    assert [bucket_of(step / 7) for step in range(8)] == [0, 1, 2, 3, 4, 5, 6, 7]
