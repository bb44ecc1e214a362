"""Which variant writes a text. Pure: who is up, what waits and the levels' dice are arguments.

Tiers alone decide: full, then light, then quantized. What a batch takes says nothing about a text, which shares its
device with all that are written beside it for as long as it takes.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from services.router.requests.device_pool import Pool
from sluice.domain.enums import Tier


@dataclass(frozen=True, slots=True, kw_only=True)
class Scribe:
    """A variant that workers write with now, those of `pool` if all of them are of one; `load` is texts per worker.

    `fits` says whether the prompt may fit: False is certain, True is not.
    """

    variant_id: str
    tier: Tier
    pool: Pool
    load: float
    fits: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """The variant that shall write, and the better tier that would have at full service, if any.

    `diverted` says that level 1 has kept the text off an accelerator.
    """

    variant_id: str
    degraded_from: Tier
    diverted: bool = False


def choose(
    scribes: Sequence[Scribe], *, minimum_tier: Tier, offered: Collection[Tier], diverted: bool, lightened: bool
) -> Choice | None:
    """Choose among `scribes`; None when none of an acceptable tier can hold the prompt.

    `offered` are the tiers in which the model was ever served. A level steers, and never takes the last one away.
    """
    acceptable = [one for one in scribes if one.tier >= minimum_tier and one.fits]
    if not acceptable:
        return None
    undiverted = acceptable
    if lightened:
        undiverted = [one for one in acceptable if one.tier is not Tier.FULL] or acceptable
    permitted = undiverted
    if diverted:
        permitted = [one for one in undiverted if one.pool is Pool.CPU] or undiverted
    chosen = _best(permitted)
    intended = max(tier for tier in {*offered, chosen.tier} if tier >= minimum_tier)
    return Choice(
        variant_id=chosen.variant_id,
        degraded_from=intended if intended > chosen.tier else Tier.UNSPECIFIED,
        diverted=chosen.pool is Pool.CPU and _best(undiverted).pool is not Pool.CPU,
    )


def _best(scribes: Sequence[Scribe]) -> Scribe:
    return min(scribes, key=lambda one: (-one.tier, one.load, one.variant_id))
