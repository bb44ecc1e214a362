"""Which resources a request may use: the map from models and tiers to groups of workers, made anew when one changes.

A group are the workers of one pool that serve the same variants, apart for batches and for generations. Its law
outlives a change of its variants, as at level 2, and a short absence of its workers: what it has learnt is theirs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from services.router.admission.demand import Demand
from services.router.admission.resource import Resource
from services.router.requests.device_pool import DevicePool
from sluice.domain.enums import Tier
from sluice.domain.variant import Variant

# Laws of groups whose workers are gone are kept for their return, the newest so many.
MAX_DORMANT = 16


class GenerationWorker(Protocol):
    """What is known of a worker's generations. Read only."""

    variants: dict[str, Variant]


class Worker(Protocol):
    """What is known of one worker. Read only."""

    address: str
    pool: DevicePool
    variants: dict[str, Variant]

    @property
    def is_serving(self) -> bool:
        """Whether it is connected and takes work."""

    @property
    def texts(self) -> GenerationWorker:
        """Its generations."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerGroup:
    """Workers, by address, that serve the same `variants` with a part of what they grant credits for."""

    generates: bool
    workers: frozenset[str]
    variants: tuple[Variant, ...]


@dataclass(frozen=True, slots=True)
class Route:
    """The resources that can serve a request, and those of each variant that is acceptable to it."""

    resources: tuple[Resource, ...] = ()
    variants: tuple[tuple[str, tuple[Resource, ...]], ...] = ()

    @property
    def is_relaxed(self) -> bool:
        """Whether every resource lets in anybody."""
        for one in self.resources:  # noqa: SIM110  asked for each request, and three times as fast as all()
            if not one.is_relaxed:
                return False
        return True


NOWHERE = Route()
Shares = Sequence[tuple[Resource, float]]


def worker_groups(workers: Iterable[Worker]) -> list[WorkerGroup]:
    """The groups of those workers that serve."""
    found: dict[tuple[bool, DevicePool, tuple[str, ...]], tuple[set[str], Mapping[str, Variant]]] = {}
    for worker in workers:
        for generates, variants in ((False, worker.variants), (True, worker.texts.variants)):
            if worker.is_serving and variants:
                key = generates, worker.pool, tuple(sorted(variants))
                found.setdefault(key, (set(), variants))[0].add(worker.address)
    return [
        WorkerGroup(generates=generates, workers=frozenset(members), variants=tuple(variants.values()))
        for (generates, _, _), (members, variants) in found.items()
    ]


class ResourceMap:
    """The laws of all groups, and which of them guard what. `make` makes a law that has learnt nothing."""

    def __init__(self, make: Callable[[], Resource]) -> None:
        self.resources: tuple[Resource, ...] = ()
        self.models = 0
        self._make = make
        self._dormant: list[Resource] = []
        self._routes: dict[tuple[str, int, bool], Route] = {}
        self._shares: dict[str, Shares] = {}
        self._by_worker: dict[tuple[str, bool], Resource] = {}

    def update(self, groups: Iterable[WorkerGroup], *, defaults: Mapping[bool, str]) -> None:
        """From now on there are `groups`. `defaults` are the models that an empty name means, by who generates."""
        groups = list(groups)
        chosen = self._match(groups)
        self._dormant = [one for one in (*self.resources, *self._dormant) if one not in chosen][:MAX_DORMANT]
        self.resources = tuple(chosen)
        self._by_worker = {(name, one.generates): one for one in chosen for name in one.workers}
        self.models = len({variant.model for group in groups for variant in group.variants})
        self._shares = _shares(groups, chosen)
        self._routes = _routes(groups, chosen)
        for generates, model in defaults.items():
            for tier in Tier:
                if (model, tier, generates) in self._routes:
                    self._routes["", tier, generates] = self._routes[model, tier, generates]

    def route(self, demand: Demand) -> Route:
        """What could serve it. Nothing, if nobody does just now, or the model's name means nothing."""
        return self._routes.get((demand.model, demand.minimum_tier, demand.generates), NOWHERE)

    def shares(self, variant_id: str) -> Shares:
        """The resources that serve a variant, each with its share of the variant's workers."""
        return self._shares.get(variant_id, ())

    def of_worker(self, address: str, *, generates: bool) -> Resource | None:
        """The resource that a worker is part of."""
        return self._by_worker.get((address, generates))

    def _match(self, groups: Sequence[WorkerGroup]) -> list[Resource]:
        """A law for each group: the one under which most of its workers were before, else a new one."""
        free = [*self.resources, *self._dormant]
        chosen = []
        for group in groups:
            alike = [one for one in free if one.generates is group.generates and one.workers & group.workers]
            law = max(alike, key=lambda one: len(one.workers & group.workers), default=None)
            if law is None:
                law = self._make()
            else:
                free.remove(law)
            chosen.append(law)
        for group, law in zip(groups, chosen, strict=True):
            law.generates, law.workers = group.generates, group.workers
            law.variants = tuple(variant.id for variant in group.variants)
        return chosen


def _shares(groups: Sequence[WorkerGroup], laws: Sequence[Resource]) -> dict[str, Shares]:
    counts: dict[str, list[tuple[Resource, int]]] = {}
    for group, law in zip(groups, laws, strict=True):
        for variant in group.variants:
            counts.setdefault(variant.id, []).append((law, len(group.workers)))
    return {
        name: tuple((law, count / sum(number for _, number in held)) for law, count in held)
        for name, held in counts.items()
    }


def _routes(groups: Sequence[WorkerGroup], laws: Sequence[Resource]) -> dict[tuple[str, int, bool], Route]:
    serving: dict[tuple[str, int, bool], dict[str, tuple[Resource, ...]]] = {}
    for group, law in zip(groups, laws, strict=True):
        for variant in group.variants:
            for tier in Tier:
                if tier <= variant.tier:
                    variants = serving.setdefault((variant.model, tier, group.generates), {})
                    variants[variant.id] = (*variants.get(variant.id, ()), law)
    return {
        key: Route(tuple(dict.fromkeys(law for held in variants.values() for law in held)), tuple(variants.items()))
        for key, variants in serving.items()
    }
