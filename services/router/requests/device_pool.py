"""The two pools: hot work belongs to the accelerator workers, cold work to the CPU workers; each lends what is idle.

Nobody is barred from the other pool. A guest pays rent on its price, and the price follows the pool's queue and load
(`prices.py`): an idle pool lends to everybody, a busy one keeps its room for those it belongs to.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum

from sluice.domain.enums import Tier
from sluice.domain.variant import Variant

SPILLOVER_MULTIPLIER = 1.5


class DevicePool(IntEnum):
    """Which devices."""

    ACCELERATOR = 0
    CPU = 1


def price_multiplier(pool: DevicePool, *, hot: bool) -> float:
    """What a request pays of the pool's price: all of it at home, more as a guest."""
    return 1.0 if hot is (pool is DevicePool.ACCELERATOR) else SPILLOVER_MULTIPLIER


def pool_of(variants: Iterable[Variant], *, before: DevicePool) -> DevicePool:
    """The pool of a worker that holds `variants`, and was of pool `before`.

    Who has ever held a full model, or computed on anything but a processor, is an accelerator worker: it remains one
    while a distilled copy stands in for the model.
    """
    is_accelerator = any(variant.tier is Tier.FULL or variant.device != "cpu" for variant in variants)
    return DevicePool.ACCELERATOR if is_accelerator else before
