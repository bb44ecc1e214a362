"""What the router can send to now, by model and tier: an immutable snapshot, made anew when a worker changes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from sluice.tier import Task, Tier
from sluice.variant import Variant, VariantState


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetView:
    """`serving[model][tier]` are ids of variants that answer; `offered[model]` the tiers in which any ever did.

    `writing` and `ever_written` are the same for variants that write texts; `variants` are the cards of all by id.
    """

    serving: Mapping[str, Mapping[Tier, tuple[str, ...]]] = field(default_factory=dict)
    offered: Mapping[str, frozenset[Tier]] = field(default_factory=dict)
    writing: Mapping[str, Mapping[Tier, tuple[str, ...]]] = field(default_factory=dict)
    ever_written: Mapping[str, frozenset[Tier]] = field(default_factory=dict)
    variants: Mapping[str, Variant] = field(default_factory=dict)

    @property
    def names(self) -> frozenset[str]:
        """All models that were ever served."""
        return frozenset(self.offered) | frozenset(self.ever_written)

    def known(self, model: str) -> str:
        """`model` if it was ever served, else nothing: callers can make up any name."""
        return model if model in self.offered or model in self.ever_written else ""

    def with_workers(self, held: Iterable[Iterable[Variant]]) -> FleetView:
        """The view when connected workers hold `held`; what was ever offered is remembered."""
        ready = {
            variant.id: variant for variants in held for variant in variants if variant.state is VariantState.READY
        }
        serving = _by_model(one for one in ready.values() if one.task is not Task.TEXT_GENERATION)
        writing = _by_model(one for one in ready.values() if one.task is Task.TEXT_GENERATION)
        return FleetView(
            serving=serving,
            offered=_with_tiers(self.offered, serving),
            writing=writing,
            ever_written=_with_tiers(self.ever_written, writing),
            variants=ready,
        )

    def models(self) -> dict[str, tuple[Variant, ...]]:
        """The variants that are served now, by model."""
        found: dict[str, tuple[Variant, ...]] = {}
        for served in (self.serving, self.writing):
            for model, tiers in served.items():
                variants = (self.variants[name] for names in tiers.values() for name in names)
                found[model] = (*found.get(model, ()), *variants)
        return found


def _by_model(variants: Iterable[Variant]) -> dict[str, dict[Tier, tuple[str, ...]]]:
    found: dict[str, dict[Tier, tuple[str, ...]]] = {}
    for variant in sorted(variants, key=lambda one: one.id):
        tiers = found.setdefault(variant.model, {})
        tiers[variant.tier] = (*tiers.get(variant.tier, ()), variant.id)
    return found


def _with_tiers(
    before: Mapping[str, frozenset[Tier]], served: Mapping[str, Mapping[Tier, tuple[str, ...]]]
) -> dict[str, frozenset[Tier]]:
    found = dict(before)
    for model, tiers in served.items():
        found[model] = found.get(model, frozenset()) | frozenset(tiers)
    return found
