"""Which variant writes a text."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.router.requests.device_pool import DevicePool
from services.router.scheduling.generation_scheduler import GenerationAssignment, GenerationCandidate, pick_variant
from sluice.domain.enums import Tier

TIERS = (Tier.FULL, Tier.LIGHT, Tier.QUANTIZED)


def scribe(
    tier: Tier, pool: DevicePool = DevicePool.ACCELERATOR, *, name: str = "", load: float = 0.0, fits: bool = True
) -> GenerationCandidate:
    return GenerationCandidate(variant_id=name or tier.label, tier=tier, pool=pool, load=load, fits=fits)


ALL = [scribe(Tier.FULL), scribe(Tier.LIGHT), scribe(Tier.QUANTIZED, DevicePool.CPU)]


def chosen(
    scribes: list[GenerationCandidate],
    minimum: Tier = Tier.UNSPECIFIED,
    *,
    diverted: bool = False,
    lightened: bool = False,
    offered: tuple[Tier, ...] = TIERS,
) -> GenerationAssignment | None:
    return pick_variant(scribes, minimum_tier=minimum, offered=offered, diverted=diverted, lightened=lightened)


@pytest.mark.parametrize(
    ("up", "minimum", "tier", "missed"),
    [
        (TIERS, Tier.UNSPECIFIED, "full", Tier.UNSPECIFIED),
        (TIERS[1:], Tier.UNSPECIFIED, "light", Tier.FULL),
        (TIERS[2:], Tier.UNSPECIFIED, "quantized", Tier.FULL),
        (TIERS[1:], Tier.LIGHT, "light", Tier.FULL),
        (TIERS[:1], Tier.FULL, "full", Tier.UNSPECIFIED),
    ],
)
def test_the_best_tier_that_is_up_writes_and_what_is_missed_is_said(
    up: tuple[Tier, ...], minimum: Tier, tier: str, missed: Tier
) -> None:
    assert chosen([scribe(one) for one in up], minimum) == GenerationAssignment(variant_id=tier, degraded_from=missed)


def test_what_was_never_served_is_not_missed() -> None:
    found = chosen([scribe(Tier.LIGHT)], offered=(Tier.LIGHT, Tier.QUANTIZED))
    assert found == GenerationAssignment(variant_id="light", degraded_from=Tier.UNSPECIFIED)


@pytest.mark.parametrize("scribes", [[], ALL[1:], [scribe(Tier.FULL, fits=False)]])
def test_nobody_acceptable_is_nobody(scribes: list[GenerationCandidate]) -> None:
    assert chosen(scribes, Tier.FULL) is None


def test_of_one_tier_the_idlest_variant_writes() -> None:
    busy, idle = scribe(Tier.FULL, name="a", load=3.0), scribe(Tier.FULL, name="b", load=1.0)
    assert chosen([busy, idle]) == GenerationAssignment(variant_id="b", degraded_from=Tier.UNSPECIFIED)


def test_level_two_takes_the_light_tier_where_there_is_one() -> None:
    assert chosen(ALL, lightened=True) == GenerationAssignment(variant_id="light", degraded_from=Tier.FULL)
    assert chosen(ALL[:1], lightened=True) == GenerationAssignment(variant_id="full", degraded_from=Tier.UNSPECIFIED)
    assert chosen(ALL, Tier.FULL, lightened=True) == GenerationAssignment(
        variant_id="full", degraded_from=Tier.UNSPECIFIED
    )


def test_level_one_goes_to_a_cpu_worker_where_there_is_one() -> None:
    assert chosen(ALL, diverted=True) == GenerationAssignment(
        variant_id="quantized", degraded_from=Tier.FULL, diverted=True
    )
    assert chosen(ALL[:2], diverted=True) == GenerationAssignment(variant_id="full", degraded_from=Tier.UNSPECIFIED)
    assert chosen(ALL, Tier.LIGHT, diverted=True) == GenerationAssignment(
        variant_id="full", degraded_from=Tier.UNSPECIFIED
    )
    # Nothing was moved that would have been there anyway.
    plain = [scribe(Tier.FULL, DevicePool.CPU)]
    assert chosen(plain, diverted=True) == GenerationAssignment(variant_id="full", degraded_from=Tier.UNSPECIFIED)


@given(
    st.lists(
        st.builds(
            scribe,
            st.sampled_from(TIERS),
            st.sampled_from(list(DevicePool)),
            name=st.text("abc", min_size=1, max_size=3),
            load=st.floats(0, 10),
            fits=st.booleans(),
        ),
        max_size=6,
    ),
    st.sampled_from(list(Tier)),
)
def test_no_level_ever_refuses_or_goes_below_the_minimum(scribes: list[GenerationCandidate], minimum: Tier) -> None:
    tiers = {one.variant_id: one.tier for one in scribes}
    acceptable = {one.variant_id for one in scribes if one.tier >= minimum and one.fits}
    for diverted, lightened in product((False, True), repeat=2):
        found = chosen(scribes, minimum, diverted=diverted, lightened=lightened)
        assert (found is not None) == bool(acceptable)
        if found is not None and len(tiers) == len(scribes):
            assert found.variant_id in acceptable
            assert found.degraded_from is Tier.UNSPECIFIED or found.degraded_from > tiers[found.variant_id]
