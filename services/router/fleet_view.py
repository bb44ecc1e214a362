"""What the router can send to now, by model and tier: an immutable snapshot, made anew when a worker changes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from sluice.tier import Tier
from sluice.variant import Variant, VariantState


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetView:
    """`serving[model][tier]` are variant ids; `offered[model]` the tiers ever served; `variants` their cards by id."""

    serving: Mapping[str, Mapping[Tier, tuple[str, ...]]] = field(default_factory=dict)
    offered: Mapping[str, frozenset[Tier]] = field(default_factory=dict)
    variants: Mapping[str, Variant] = field(default_factory=dict)

    def with_workers(self, held: Iterable[Iterable[Variant]]) -> FleetView:
        """The view when connected workers hold `held`; what was ever offered is remembered."""
        ready = {
            variant.id: variant for variants in held for variant in variants if variant.state is VariantState.READY
        }
        serving: dict[str, dict[Tier, tuple[str, ...]]] = {}
        for variant in sorted(ready.values(), key=lambda one: one.id):
            tiers = serving.setdefault(variant.model, {})
            tiers[variant.tier] = (*tiers.get(variant.tier, ()), variant.id)
        offered = dict(self.offered)
        for model, tiers in serving.items():
            offered[model] = offered.get(model, frozenset()) | frozenset(tiers)
        return FleetView(serving=serving, offered=offered, variants=ready)

    def models(self) -> dict[str, tuple[Variant, ...]]:
        """The variants that are served now, by model."""
        return {
            model: tuple(self.variants[name] for names in tiers.values() for name in names)
            for model, tiers in self.serving.items()
        }
