"""Placement: from a request to its assignment, over the newest view of who serves what and when they will be free."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from math import frexp
from random import random

from services.router.queueing.queue import VariantQueue
from services.router.requests.device_pool import DevicePool
from services.router.requests.request import Request
from services.router.scheduling.capacity_snapshot import (
    CapacitySnapshot,
    PlacementRate,
    SnapshotBuilder,
    WorkerView,
    bucket_of,
)
from services.router.scheduling.complexity import ASSUMED, Complexity, infer_query_class
from services.router.scheduling.decision_cache import DecisionCache, Key, SessionAffinity
from services.router.scheduling.latency_estimator import Candidate, candidates
from services.router.scheduling.model_registry import ModelRegistry, nobody_serves, require_classifier, resolve
from services.router.scheduling.prices import PoolPrices
from services.router.scheduling.probing import AVOIDED_S, REFUSED_S, Probing
from services.router.scheduling.scoring import (
    LAST_HOPE,
    Assignment,
    Cause,
    Refused,
    SchedulingRequest,
    as_probe,
    fixed_order_pick,
    pick,
    probe_avoided,
    probe_refused,
)
from sluice.control.directive import ActiveDirective
from sluice.domain.enums import QueryClass, Tier
from sluice.domain.errors import Expired, NoEndpoint, Saturated, SluiceError
from sluice.domain.variant import Variant

REFRESH_S = 0.02
# How often what was served before is looked at for its age.
AGE_S = 10.0
LEAST_SLACK_S = 1e-6
# What admission counts for a request while nothing is known of its cost.
UNKNOWN_COST_S = 1e-3
FIRST_ITEM_TOKENS = 32.0
_LEARNING = 0.01
NEVER = 2.0
RETRY_AFTER_S = (0.05, 2.0)
FULL_SERVICE = False, False
_ASSUMED_BUCKET = {wanted: bucket_of(complexity) for wanted, complexity in ASSUMED.items()}


class Scheduler:
    """Fills in what a request leaves open (model, class, complexity) and assigns it."""

    def __init__(
        self,
        *,
        default_model: str,
        priced: bool,
        max_batch_size: int,
        complexity: Complexity,
        directives: ActiveDirective,
        workers: Callable[[], Iterable[WorkerView]],
        queues: Mapping[str, VariantQueue],
        dice: Callable[[], float] = random,
    ) -> None:
        self.view = ModelRegistry()
        self._aged_at = float("-inf")
        self.prices = PoolPrices()
        self.outlook = CapacitySnapshot()
        # When `look` has to look again.
        self._look_at = float("-inf")
        self._survey = SnapshotBuilder(max_batch_size=max_batch_size)
        self._flow = PlacementRate()
        self._affinity = SessionAffinity()
        self._precedents = DecisionCache()
        self._probing = Probing()
        self._default_model = default_model
        self._priced = priced
        self._complexity = complexity
        self._directives = directives
        self._workers = workers
        self._queues = queues
        self._dice = dice
        self._item_tokens = FIRST_ITEM_TOKENS
        self._placed = 0

    def update(self, held: Iterable[Iterable[Variant]], *, sources: Sequence[str] = (), now: float = 0.0) -> None:
        """Connected workers, whose addresses are `sources`, hold `held` now."""
        self._see(self.view.with_workers(held, sources=sources, now=now), now)

    def distrust(self, source: str, variants: Iterable[Variant], now: float) -> None:
        """The worker at `source`, which held `variants`, broke the contract: forget what it alone said."""
        self._survey.forget(variants)
        self._see(self.view.without(source, now), now)

    def _see(self, view: ModelRegistry, now: float) -> None:
        self.view, self._aged_at = view, now
        self._survey.keep(view.offered, view.variants)
        self._probing.keep(self.view.variants)
        self.refresh()

    def refresh(self) -> None:
        """Something has changed that the next estimate must not miss."""
        self.outlook = replace(self.outlook, at=float("-inf"))
        self._look_at = float("-inf")
        self._precedents.forget()

    def look(self, now: float) -> CapacitySnapshot:
        """What the crews offer at `now`, or did a moment ago."""
        if now >= self._look_at:
            if now - self._aged_at >= AGE_S:
                self._see(self.view.aged(now), now)
            self._flow.roll(now)
            self.outlook = self._survey.look(self._workers(), self._flow, item_tokens=self._item_tokens, now=now)
            self._look_at = now + REFRESH_S
            self._precedents.forget()
        return self.outlook

    def identify(self, request: Request) -> None:
        """Fill in the model's name. Raises as `resolve`, and InvalidRequest for a model that only generates."""
        request.model = self.resolve(request.model)
        require_classifier(request.model, self.view)

    def resolve(self, model: str, *, writes: bool = False) -> str:
        """Which model `model` means. Raises as the function of this name."""
        return resolve(model, self.view, default=self._default_model, writes=writes)

    def defaults(self) -> dict[bool, str]:
        """The models that requests mean which name none, by whether they ask for a generation."""
        found = {}
        for generates in (False, True):
            with suppress(SluiceError):
                found[generates] = self.resolve("", writes=generates)
        return found

    def min_cost_s(self, request: Request, tokens: int, now: float) -> float:
        """Device time that the cheapest acceptable variant takes for an identified request."""
        token_s = self.look(now).least_token_s.get((request.model, request.minimum_tier))
        return token_s * tokens if token_s is not None else UNKNOWN_COST_S

    def place(self, request: Request, *, tokens: int, hot: bool, now: float, hope: float | None = None,
              closed: Collection[str] = ()) -> Assignment:  # fmt: skip
        """The variant that shall answer an identified request of `tokens` (estimated), none of those that are `closed`.

        Raises NoEndpoint when nobody serves an acceptable tier, Expired when nobody could be in time, and Saturated
        when somebody could but for the work that waits. Where no variant is certain to be in time, the likeliest is
        taken if its chance is at least `hope`, in [0, 1]; by default, for hot requests only.
        """
        if request.query_class is QueryClass.UNSPECIFIED:
            request.complexity = self._complexity(request.text)
            request.query_class = infer_query_class(request.complexity)
        if not self._priced:
            return self._by_preference(request, closed)
        found = self._by_price(request, tokens=tokens, hot=hot, now=now, hope=hope, closed=closed)
        self._placed += 1
        self._item_tokens += max(_LEARNING, 1.0 / self._placed) * (tokens - self._item_tokens)
        self._flow.place(found.variant_id, tokens)
        if hot:
            self._probing.note_hot(found.variant_id, now)
        self.prices.commit(found.pool, found.token_s * tokens)
        return found

    def _by_price(
        self, request: Request, *, tokens: int, hot: bool, now: float, hope: float | None, closed: Collection[str]
    ) -> Assignment:
        self.look(now)
        wanted, guessed = request.query_class, request.complexity
        # What is promised is placed anew even in the moment of its deadline.
        slack_s = max(LEAST_SLACK_S, request.deadline - now)
        if guessed is None:
            bucket = _ASSUMED_BUCKET[wanted]
        else:
            wanted, bucket = QueryClass.UNSPECIFIED, bucket_of(guessed)
        if hope is None:
            hope = LAST_HOPE if hot else NEVER
        levels = self._levels_for(hot=hot) if self._directives.levels else FULL_SERVICE
        # Alike are requests that are treated alike, with time left of the same order.
        key = (request.model, wanted, request.minimum_tier, request.priority, bucket, hope, levels, frexp(slack_s)[1])
        conversation = request.conversation_id
        kept = self._affinity.variant_of(conversation, now) if conversation else ""
        found = None if closed else self._precedents.find(key)
        if found is not None and kept in {"", found.variant_id}:
            if conversation:
                self._affinity.note(conversation, found.variant_id, now)
            return found
        ask = SchedulingRequest(
            query_class=wanted,
            minimum_tier=request.minimum_tier,
            priority=request.priority,
            hot=hot,
            slack_s=slack_s,
            bucket=bucket,
            tokens=tokens,
            hope=hope,
            kept=kept,
            diverted=levels[0],
            lightened=levels[1],
        )
        return self._decide(request, ask, key, now, closed)

    def _decide(
        self, request: Request, ask: SchedulingRequest, key: Key, now: float, closed: Collection[str]
    ) -> Assignment:
        model, conversation = request.model, request.conversation_id
        found = candidates(
            self.outlook.crews.get(model, ()),
            self._queues.get,
            model=model,
            hot=ask.hot,
            deadline=request.deadline,
            tokens=ask.tokens,
            now=now,
            caller=request.caller.id,
        )
        if closed:
            found = [option for option in found if option.offer.variant_id not in closed]
        prices = self.prices.usual if ask.query_class is QueryClass.UNSPECIFIED else self.prices.full
        assigned = pick(ask, found, prices=prices, best=self.outlook.best.get(model, {}))
        probe = self._probe(ask, found, assigned, prices, now, is_conversation=bool(conversation))
        if probe is not None:
            return probe
        if isinstance(assigned, Refused):
            raise _error(assigned, model, request.minimum_tier)
        if conversation:
            self._affinity.note(conversation, assigned.variant_id, now)
        # What a conversation was kept with may not be what another would have got.
        if assigned.variant_id != ask.kept and not closed:
            self._precedents.note(key, assigned, ask, found)
        return assigned

    def _probe(
        self,
        ask: SchedulingRequest,
        found: Sequence[Candidate],
        assigned: Assignment | Refused,
        prices: Sequence[float],
        now: float,
        *,
        is_conversation: bool,
    ) -> Assignment | None:
        """Where the request goes to see whether what is believed is true; None, as a rule: it goes where assigned.

        A conversation that is answered anyway stays where it is.
        """
        least_s, candidates = REFUSED_S, list[Candidate]()
        if isinstance(assigned, Refused):
            soonest = probe_refused(ask, found)
            candidates += [soonest] if soonest is not None else []
        elif not (ask.hot or is_conversation) and self._probing.may_look(now):
            least_s = AVOIDED_S
            candidates += probe_avoided(ask, found, assigned, prices)
        for option in candidates:
            offer = option.offer
            belief = {"pace": offer.pace, "answered_at": offer.answered_at, "least_s": least_s, "now": now}
            if self._probing.is_due(offer.variant_id, **belief):
                is_rare = self._probing.would_hold_up_hot(self._beside(offer.variant_id), now)
                self._probing.probed(offer.variant_id, **belief, is_rare=is_rare)
                return as_probe(ask, option, self.outlook.best.get(offer.model, {}))
        return None

    def _beside(self, variant_id: str) -> set[str]:
        """The other variants of the workers that serve this one."""
        crews = ({offer.variant_id for offer in crew.offers} for crew in self.outlook.all_crews())
        return set().union(*(names for names in crews if variant_id in names)) - {variant_id}

    def _levels_for(self, *, hot: bool) -> tuple[bool, bool]:
        """Whether level 1 diverts the next request and level 2 lightens it: each its share, by dice."""
        directives = self._directives
        return not hot and self._dice() < directives.offload_share, self._dice() < directives.lighten_share

    def _by_preference(self, request: Request, closed: Collection[str]) -> Assignment:
        view = self.view
        serving = view.serving.get(request.model, {})
        if closed:
            serving = {tier: tuple(one for one in names if one not in closed) for tier, names in serving.items()}
            serving = {tier: names for tier, names in serving.items() if names}
        preferred = fixed_order_pick(
            request.query_class,
            request.minimum_tier,
            serving=serving,
            offered=view.offered.get(request.model, frozenset()),
            backlog=lambda name: len(self._queues.get(name, ())),
        )
        if preferred is None:
            raise _error(Refused(cause=Cause.NOBODY), request.model, request.minimum_tier)
        variant_id, degraded_from = preferred
        return Assignment(variant_id=variant_id, degraded_from=degraded_from, pool=DevicePool.CPU, token_s=0.0)


def _error(refused: Refused, model: str, minimum_tier: Tier) -> NoEndpoint | Expired | Saturated:
    if refused.cause is Cause.NOBODY:
        return nobody_serves(model, minimum_tier)
    if refused.cause is Cause.TOO_LATE:
        left_ms, needed_ms = refused.slack_s * 1e3, refused.fastest_s * 1e3
        needs = f"the fastest variant of '{model}' needs about {needed_ms:.0f} ms"
        return Expired(f"deadline too short: {left_ms:.0f} ms left, {needs}")
    wait_s = min(RETRY_AFTER_S[1], max(RETRY_AFTER_S[0], refused.excess_s))
    short_ms = refused.excess_s * 1e3
    problem = f"the queue for '{model}' is too long to meet the deadline (short by {short_ms:.0f} ms)"
    return Saturated(problem, retry_after_s=wait_s)
