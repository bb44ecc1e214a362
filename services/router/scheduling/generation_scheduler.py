"""Where a text is written: which model is meant, and which of its variants is chosen at this moment."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from random import random

from services.router.queueing.queue import VariantQueue
from services.router.requests.device_pool import DevicePool
from services.router.requests.generation import PendingGeneration
from services.router.requests.request import Request
from services.router.scheduling.model_registry import nobody_serves, require_generator
from services.router.scheduling.scheduler import Scheduler
from services.router.workers.client import WorkerClient
from sluice.control.directive import ActiveDirective
from sluice.domain.enums import Tier
from sluice.domain.errors import InvalidRequest
from sluice.domain.variant import Variant

# Which variant writes a text. Pure: who is up, what waits and the levels' dice are arguments.
#
# Tiers alone decide: full, then light, then quantized. What a batch takes says nothing about a text, which shares its
# device with all that are written beside it for as long as it takes.


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerationCandidate:
    """A variant that workers write with now, those of `pool` if all of them are of one; `load` is texts per worker.

    `fits` says whether the prompt may fit: False is certain, True is not.
    """

    variant_id: str
    tier: Tier
    pool: DevicePool
    load: float
    fits: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerationAssignment:
    """The variant that shall write, and the better tier that would have at full service, if any.

    `diverted` says that level 1 has kept the text off an accelerator.
    """

    variant_id: str
    degraded_from: Tier
    diverted: bool = False


def pick_variant(
    scribes: Sequence[GenerationCandidate],
    *,
    minimum_tier: Tier,
    offered: Collection[Tier],
    diverted: bool,
    lightened: bool,
) -> GenerationAssignment | None:
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
        permitted = [one for one in undiverted if one.pool is DevicePool.CPU] or undiverted
    chosen = _best(permitted)
    intended = max(tier for tier in {*offered, chosen.tier} if tier >= minimum_tier)
    return GenerationAssignment(
        variant_id=chosen.variant_id,
        degraded_from=intended if intended > chosen.tier else Tier.UNSPECIFIED,
        diverted=chosen.pool is DevicePool.CPU and _best(undiverted).pool is not DevicePool.CPU,
    )


def _best(scribes: Sequence[GenerationCandidate]) -> GenerationCandidate:
    return min(scribes, key=lambda one: (-one.tier, one.load, one.variant_id))


class GenerationScheduler:
    """Chooses over the newest view of who writes what, with the levels' shares taken by `dice`."""

    def __init__(
        self,
        *,
        placement: Scheduler,
        links: Callable[[], Iterable[WorkerClient]],
        queues: Mapping[str, VariantQueue],
        directives: ActiveDirective,
        dice: Callable[[], float] = random,
    ) -> None:
        self._placement = placement
        self._links = links
        self._queues = queues
        self._directives = directives
        self._dice = dice

    def identify(self, request: Request) -> None:
        """Fill in the model's name. Raises as `resolve`, and InvalidRequest for a model that does not generate."""
        request.model = self._placement.resolve(request.model, writes=True)
        require_generator(request.model, self._placement.view)

    def place(self, ticket: PendingGeneration, *, closed: Collection[str] = ()) -> GenerationAssignment:
        """The variant that shall write an identified text, which is not let in to those that are `closed`.

        Raises NoEndpoint when nobody writes in an acceptable tier, and InvalidRequest when nobody of those could ever
        hold the prompt.
        """
        request, directives = ticket.request, self._directives
        scribes = [one for one in self._scribes(request.model, ticket.text_bytes) if one.variant_id not in closed]
        chosen = pick_variant(
            scribes,
            minimum_tier=request.minimum_tier,
            offered=self._placement.view.generating_seen.get(request.model, ()),
            diverted=not ticket.hot and self._dice() < directives.offload_share,
            lightened=self._dice() < directives.lighten_share,
        )
        if chosen is not None:
            return chosen
        if any(one.tier >= request.minimum_tier for one in scribes):
            problem = (
                f"the prompt has {ticket.text_bytes} bytes, more than '{request.model}' has positions or memory for"
            )
            raise InvalidRequest(problem, field="prompt")
        raise nobody_serves(request.model, request.minimum_tier, task="generation")

    def _scribes(self, model: str, size: int) -> list[GenerationCandidate]:
        view = self._placement.view
        found: list[GenerationCandidate] = []
        for tier, names in view.writing.get(model, {}).items():
            for name in names:
                links = [link for link in self._links() if link.is_serving and name in link.texts.variants]
                found.append(self._scribe(name, tier, links, fits=may_fit(size, view.variants[name])))
        return found

    def _scribe(self, name: str, tier: Tier, links: list[WorkerClient], *, fits: bool) -> GenerationCandidate:
        queue = self._queues.get(name)
        texts = sum(len(link.texts.open) for link in links) + (len(queue) if queue is not None else 0)
        pool = DevicePool.CPU if all(link.pool is DevicePool.CPU for link in links) else DevicePool.ACCELERATOR
        return GenerationCandidate(variant_id=name, tier=tier, pool=pool, load=texts / max(1, len(links)), fits=fits)


def may_fit(size: int, variant: Variant) -> bool:
    """Whether a prompt of `size` bytes can leave room for a token. False is certain; the worker knows the rest."""
    if not variant.max_token_bytes:
        return True
    room = min(variant.max_tokens, variant.cache_tokens or variant.max_tokens)
    return ceil(size / variant.max_token_bytes) < room
