"""What the router can send to now, by model and tier: an immutable snapshot, made anew when a worker changes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from sluice.domain.enums import Task, Tier
from sluice.domain.errors import InvalidRequest, NoEndpoint, UnknownModel
from sluice.domain.variant import Variant, VariantState

# What nobody serves any more is remembered for so long, and so much of it.
REMEMBERED_S = 3_600.0
MOST_REMEMBERED = 1_024
MOST_SOURCES = 64

# Model, tier, and whether it is served to generate text.
Key = tuple[str, Tier, bool]


@dataclass(frozen=True, slots=True)
class Fact:
    """A model was served in a tier, by the workers `said_by`, until `at`, in seconds of the router's clock."""

    said_by: frozenset[str]
    at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRegistry:
    """`serving[model][tier]` are ids of variants that answer; `offered[model]` the tiers in which any did of late.

    `writing` and `generating_seen` are the same for variants that write texts; `variants` are the cards of all by id.
    What was served of late follows from `facts`: what is served now, and what was within the last hour, unless each
    worker that said so has broken the contract since.
    """

    serving: Mapping[str, Mapping[Tier, tuple[str, ...]]] = field(default_factory=dict)
    offered: Mapping[str, frozenset[Tier]] = field(default_factory=dict)
    writing: Mapping[str, Mapping[Tier, tuple[str, ...]]] = field(default_factory=dict)
    generating_seen: Mapping[str, frozenset[Tier]] = field(default_factory=dict)
    variants: Mapping[str, Variant] = field(default_factory=dict)
    facts: Mapping[Key, Fact] = field(default_factory=dict)
    names: frozenset[str] = field(init=False)
    """All models that were served of late."""

    def __post_init__(self) -> None:
        # Every request asks for them.
        object.__setattr__(self, "names", frozenset(self.offered) | frozenset(self.generating_seen))

    def known(self, model: str) -> str:
        """`model` if it was served of late, else nothing: callers can make up any name."""
        return model if model in self.offered or model in self.generating_seen else ""

    def with_workers(
        self, held: Iterable[Iterable[Variant]], *, sources: Sequence[str] = (), now: float = 0.0
    ) -> ModelRegistry:
        """The view when connected workers, whose addresses are `sources`, hold `held`."""
        ready: dict[str, Variant] = {}
        said: dict[Key, set[str]] = {}
        for place, variants in enumerate(held):
            for variant in variants:
                if variant.state is VariantState.READY:
                    ready[variant.id] = variant
                    said.setdefault(_key(variant), set()).update(sources[place : place + 1])
        facts = dict(self.facts)
        for key in _keys(self) | said.keys():
            before = facts[key].said_by if key in facts else frozenset()
            sayers = said.get(key, set())
            facts[key] = Fact(frozenset(sayers | before if len(sayers | before) <= MOST_SOURCES else sayers), now)
        serving = _by_model(one for one in ready.values() if one.task is not Task.TEXT_GENERATION)
        writing = _by_model(one for one in ready.values() if one.task is Task.TEXT_GENERATION)
        return _remembering(ModelRegistry(serving=serving, writing=writing, variants=ready), facts, now)

    def aged(self, now: float) -> ModelRegistry:
        """The view at `now`, when no worker has changed."""
        return _remembering(self, self.facts, now)

    def without(self, source: str, now: float) -> ModelRegistry:
        """The view when nothing counts any more that only the worker at `source` said, and that nobody serves."""
        facts = {
            key: Fact(fact.said_by - {source}, fact.at)
            for key, fact in self.facts.items()
            if fact.said_by != {source} or key in _keys(self)
        }
        return _remembering(self, facts, now)

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


def _key(variant: Variant) -> Key:
    return variant.model, variant.tier, variant.task is Task.TEXT_GENERATION


def _keys(view: ModelRegistry) -> set[Key]:
    """What is served now."""
    return {_key(variant) for variant in view.variants.values()}


def _remembering(view: ModelRegistry, facts: Mapping[Key, Fact], now: float) -> ModelRegistry:
    """`view`, with those of `facts` that are true now or not too old."""
    served = _keys(view)
    gone = [key for key, fact in facts.items() if key not in served and now - fact.at <= REMEMBERED_S]
    gone.sort(key=lambda key: facts[key].at, reverse=True)
    kept = {key: facts[key] for key in (*served, *gone[:MOST_REMEMBERED])}
    tiers: tuple[dict[str, frozenset[Tier]], dict[str, frozenset[Tier]]] = ({}, {})
    for model, tier, generates in kept:
        tiers[generates][model] = tiers[generates].get(model, frozenset()) | {tier}
    return replace(view, facts=kept, offered=tiers[False], generating_seen=tiers[True])


# Which model a request means, and what is wrong with what it asks of it. Pure, over a view of who serves what.


def resolve(model: str, view: ModelRegistry, *, default: str, writes: bool = False) -> str:
    """The name of the model that is meant by `model`; empty means `default`, or the only one.

    `writes` says whether a text is asked for: a default that does otherwise is not meant while one model does it.
    Raises UnknownModel, NoEndpoint when no worker has come yet, or InvalidRequest when no model is named.
    """
    if not view.names:
        raise NoEndpoint("no worker is connected yet")
    name = model or _meant(view, default, frozenset(view.generating_seen if writes else view.offered))
    if name not in view.names:
        raise UnknownModel(f"no worker has offered a model named '{name}'", field="model")
    return name


def require_generator(name: str, view: ModelRegistry) -> None:
    """Raise InvalidRequest when a resolved model never wrote a text, and NoEndpoint when nobody knows what it does."""
    if name in view.generating_seen:
        return
    tasks = {Task(variant.task) for variant in view.models().get(name, ())}
    if not tasks:
        raise nobody_serves(name, Tier.UNSPECIFIED)
    done = ", ".join(sorted(task.name.lower().replace("_", "-") for task in tasks))
    raise InvalidRequest(f"model '{name}' does {done} and does not generate text", field="model")


def require_classifier(name: str, view: ModelRegistry) -> None:
    """Raise InvalidRequest when a resolved model only ever wrote texts."""
    if name not in view.offered:
        raise InvalidRequest(f"model '{name}' generates text, and answers only Generate", field="model")


def _meant(view: ModelRegistry, default: str, fitting: frozenset[str]) -> str:
    if default and (default in fitting or len(fitting) != 1):
        return default
    names = sorted(fitting or view.names)
    if len(names) > 1:
        raise InvalidRequest(f"several models are served, so name one of: {', '.join(names)}", field="model")
    return names[0]


def nobody_serves(model: str, minimum_tier: Tier, *, task: str = "") -> NoEndpoint:
    """The error of a request for which no worker is there just now."""
    what = f" for {task}" if task else ""
    where = f" at tier {minimum_tier.label} or better" if minimum_tier else ""
    return NoEndpoint(f"no worker serves model '{model}'{what}{where} just now")
