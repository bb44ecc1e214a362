"""From who holds what to the variant that answers."""

from __future__ import annotations

from dataclasses import replace

import pytest

from services.router.queueing.queue import VariantQueue
from services.router.requests.request import PendingRequest, Request
from services.router.scheduling.complexity import load_complexity
from services.router.scheduling.model_registry import ModelRegistry
from services.router.scheduling.scheduler import UNKNOWN_COST_S, Scheduler
from services.router.scheduling.scoring import Assignment
from sluice.control.directive import ActiveDirective, Directive
from sluice.domain.enums import Level, QueryClass, Task, Tier
from sluice.domain.errors import Expired, InvalidRequest, NoEndpoint, Saturated, UnknownModel
from sluice.domain.variant import Variant, VariantState, variant_id
from tests.unit.router import offers
from tests.unit.router.offers import Bench


def variant(tier: Tier, model: str = "m", precision: str = "fp32", state: VariantState = VariantState.READY) -> Variant:
    return Variant(
        id=variant_id(model, tier, precision), model=model, tier=tier, task=Task.TEXT_CLASSIFICATION, state=state
    )


FULL, LIGHT, QUANTIZED = (variant(tier) for tier in (Tier.FULL, Tier.LIGHT, Tier.QUANTIZED))
COMPLEX_TEXT = "Not this one. If it is late, but only then, send another. " * 4


class Desk:
    """A placement before workers that hold one variant each. The clock stands still and the dice are loaded."""

    def __init__(self, *held: Variant, default_model: str = "", priced: bool = True) -> None:
        self.now = 100.0
        self.dice = 0.5
        self.directives = ActiveDirective()
        self.queues: dict[str, VariantQueue] = {}
        self.workers: list[Bench] = []
        self.placement = Scheduler(
            default_model=default_model,
            priced=priced,
            max_batch_size=128,
            complexity=load_complexity(""),
            directives=self.directives,
            workers=lambda: self.workers,
            queues=self.queues,
            dice=lambda: self.dice,
        )
        self.hold(*held)

    def hold(self, *held: Variant) -> None:
        """These are connected now, and no others."""
        self.workers = [Bench(one) for one in held]
        self.placement.update([held])
        self.placement.look(self.now)

    def place(self, request: Request, *, hot: bool = False, hope: float | None = None) -> Assignment:
        """As the router does."""
        self.placement.identify(request)
        return self.placement.place(request, tokens=20, hot=hot, now=self.now, hope=hope)

    def wait(self, variant: Variant, count: int, *, deadline: float = 100.1) -> None:
        """So many cold requests wait for `variant`."""
        queue = self.queues.setdefault(variant.id, VariantQueue(variant.id))
        for number in range(count):
            waiting = Request(model="m", text="x" * 72, deadline=deadline)
            queue.push(PendingRequest(number, waiting, lambda outcome: None, hot=False, now=self.now))


def asks(model: str = "m", text: str = "hello", *, timeout_s: float = 10.0, **more: object) -> Request:
    return Request(model=model, text=text, deadline=100.0 + timeout_s, **more)  # type: ignore[arg-type]


def test_workers_that_hold_the_same_variant_make_it_one() -> None:
    view = ModelRegistry().with_workers([[LIGHT], [LIGHT, FULL]])
    assert view.serving == {"m": {Tier.FULL: (FULL.id,), Tier.LIGHT: (LIGHT.id,)}}
    assert view.models() == {"m": (FULL, LIGHT)}


def test_only_what_is_ready_is_served() -> None:
    loading, unloading = replace(FULL, state=VariantState.LOADING), replace(LIGHT, state=VariantState.UNLOADING)
    view = ModelRegistry().with_workers([[loading, unloading, QUANTIZED]])
    assert list(view.variants) == [QUANTIZED.id]
    assert view.offered == {"m": frozenset({Tier.QUANTIZED})}


def test_a_variant_that_one_worker_unloads_is_still_served_by_another() -> None:
    unloading = replace(LIGHT, state=VariantState.UNLOADING)
    for held in ([[unloading], [LIGHT]], [[LIGHT], [unloading]]):
        assert ModelRegistry().with_workers(held).variants == {LIGHT.id: LIGHT}


def test_what_was_ever_offered_is_remembered_and_a_view_never_changes() -> None:
    first = ModelRegistry().with_workers([[FULL]])
    second = first.with_workers([[LIGHT, variant(Tier.LIGHT, "other")]])
    assert first.offered == {"m": frozenset({Tier.FULL})}
    assert second.offered == {"m": frozenset({Tier.FULL, Tier.LIGHT}), "other": frozenset({Tier.LIGHT})}
    assert set(second.serving["m"]) == {Tier.LIGHT}


def test_by_preference_a_request_that_names_no_class_gets_one_by_its_text() -> None:
    request = asks(text=COMPLEX_TEXT)
    assert Desk(FULL, LIGHT, priced=False).place(request).variant_id == FULL.id
    assert request.query_class is QueryClass.COMPLEX
    assert Desk(FULL, LIGHT, priced=False).place(asks()).variant_id == LIGHT.id


@pytest.mark.parametrize("priced", [True, False])
def test_a_class_that_the_caller_names_is_not_guessed_over(*, priced: bool) -> None:
    request = asks(text=COMPLEX_TEXT, query_class=QueryClass.REAL_TIME)
    assert Desk(FULL, LIGHT, QUANTIZED, priced=priced).place(request).variant_id == QUANTIZED.id
    assert (request.query_class, request.complexity) == (QueryClass.REAL_TIME, None)


def test_a_class_that_was_guessed_is_no_wish_when_the_request_is_placed_again() -> None:
    desk, request = Desk(FULL, LIGHT), asks()
    first = desk.place(request).variant_id
    assert request.query_class is QueryClass.SIMPLE
    assert request.complexity is not None
    assert desk.place(request).variant_id == first == FULL.id


def test_by_preference_among_equal_variants_the_one_with_the_shorter_queue_is_taken() -> None:
    other = variant(Tier.LIGHT, precision="bf16")
    desk = Desk(LIGHT, other, priced=False)
    desk.wait(other, 3)
    assert desk.place(asks()).variant_id == LIGHT.id


@pytest.mark.parametrize("priced", [True, False])
def test_the_only_model_need_not_be_named_and_the_request_then_carries_its_name(*, priced: bool) -> None:
    request = asks(model="")
    assert Desk(LIGHT, priced=priced).place(request).variant_id == LIGHT.id
    assert request.model == "m"


def test_the_default_model_answers_those_who_name_none() -> None:
    both = Desk(LIGHT, variant(Tier.LIGHT, "other"), default_model="other")
    assert both.place(asks(model="")).variant_id == "other/light-fp32"


def test_of_several_models_one_must_be_named() -> None:
    with pytest.raises(InvalidRequest, match="m, other") as caught:
        Desk(LIGHT, variant(Tier.LIGHT, "other")).place(asks(model=""))
    assert caught.value.field == "model"


@pytest.mark.parametrize("priced", [True, False])
def test_a_model_that_nobody_ever_offered_is_unknown_and_one_that_has_gone_is_not(*, priced: bool) -> None:
    desk = Desk(LIGHT, variant(Tier.LIGHT, "other"), priced=priced)
    with pytest.raises(UnknownModel):
        desk.place(asks(model="nobody"))
    desk.hold(LIGHT)
    with pytest.raises(NoEndpoint):
        desk.place(asks(model="other"))


def test_before_any_worker_has_come_no_model_is_called_unknown() -> None:
    with pytest.raises(NoEndpoint):
        Desk().place(asks())


@pytest.mark.parametrize("priced", [True, False])
def test_a_tier_that_was_served_once_and_is_down_is_what_an_answer_was_degraded_from(*, priced: bool) -> None:
    desk = Desk(FULL, LIGHT, priced=priced)
    desk.place(asks())
    desk.hold(LIGHT)
    assert desk.place(asks(query_class=QueryClass.COMPLEX)).degraded_from is Tier.FULL
    with pytest.raises(NoEndpoint):
        desk.place(asks(minimum_tier=Tier.FULL))


def test_what_cannot_be_in_time_behind_the_queue_is_refused_and_may_come_back() -> None:
    desk = Desk(LIGHT)
    desk.wait(LIGHT, 5_000)
    with pytest.raises(Saturated) as caught:
        desk.place(asks(timeout_s=0.3))
    assert caught.value.retry_after_s
    assert desk.place(asks(timeout_s=300.0)).variant_id == LIGHT.id
    assert desk.place(asks(timeout_s=0.3), hope=0.0).variant_id == LIGHT.id


def test_what_nobody_could_ever_answer_in_time_has_expired() -> None:
    desk = Desk(LIGHT)
    # Nothing has shown yet that the profile is right: the first one finds out.
    assert desk.place(asks(timeout_s=1e-4)).variant_id == LIGHT.id
    with pytest.raises(Expired):
        desk.place(asks(timeout_s=1e-4))


@pytest.mark.parametrize("late_s", [0.0, 0.005])
def test_what_was_promised_is_placed_even_in_the_moment_of_its_deadline(late_s: float) -> None:
    assert Desk(FULL, LIGHT).place(asks(timeout_s=-late_s), hope=0.0).variant_id in {FULL.id, LIGHT.id}


def test_a_conversation_stays_with_its_variant_while_little_is_lost_by_it() -> None:
    twin = variant(Tier.FULL, precision="bf16")
    desk = Desk(FULL, twin)
    first = desk.place(asks(conversation_id="c")).variant_id
    other = twin if first == FULL.id else FULL
    desk.wait(FULL if first == FULL.id else twin, 50)
    assert desk.place(asks(conversation_id="c")).variant_id == first
    desk.hold(other)
    assert desk.place(asks(conversation_id="c")).variant_id == other.id
    desk.hold(FULL, twin)
    assert desk.place(asks(conversation_id="c")).variant_id == other.id


def test_what_was_decided_for_others_never_moves_a_conversation_and_what_keeps_one_never_decides_for_others() -> None:
    desk = Desk(LIGHT)
    assert desk.place(asks(conversation_id="c")).variant_id == LIGHT.id
    # Known a little better, but not by enough to change the voice of a conversation.
    desk.hold(LIGHT, QUANTIZED)
    for _ in range(3):
        assert desk.place(asks(priority=0.0)).variant_id == QUANTIZED.id
        assert desk.place(asks(priority=0.0, conversation_id="c")).variant_id == LIGHT.id


def directed(**shares: float) -> Directive:
    return Directive(epoch=1, revision=1, levels=(Level.OFFLOAD, Level.LIGHTEN), **shares)


@pytest.mark.parametrize(("dice", "tier"), [(0.29, Tier.LIGHT), (0.31, Tier.FULL)])
def test_level_one_takes_its_share_of_cold_work_by_dice_and_none_of_hot_work(dice: float, tier: Tier) -> None:
    desk = Desk(FULL, LIGHT)
    desk.directives.apply(directed(offload_share=0.3), 0.0)
    desk.dice = dice
    ids = {Tier.LIGHT: LIGHT.id, Tier.FULL: FULL.id}
    assert desk.place(asks(query_class=QueryClass.COMPLEX)).variant_id == ids[tier]
    assert desk.place(asks(query_class=QueryClass.COMPLEX), hot=True).variant_id == FULL.id
    assert desk.place(asks(minimum_tier=Tier.FULL)).variant_id == FULL.id


def test_level_two_takes_its_share_of_the_full_tiers_work_hot_or_not() -> None:
    desk = Desk(FULL, LIGHT)
    desk.directives.apply(directed(lighten_share=0.3), 0.0)
    desk.dice = 0.1
    for hot in (True, False):
        assigned = desk.place(asks(query_class=QueryClass.COMPLEX), hot=hot)
        assert (assigned.variant_id, assigned.degraded_from) == (LIGHT.id, Tier.FULL)
    assert desk.place(asks(minimum_tier=Tier.FULL)).variant_id == FULL.id


def test_the_fixed_policy_knows_no_levels() -> None:
    desk = Desk(FULL, LIGHT, priced=False)
    desk.directives.apply(directed(offload_share=1.0, lighten_share=1.0), 0.0)
    assert desk.place(asks(query_class=QueryClass.COMPLEX)).variant_id == FULL.id


def test_what_is_assigned_is_committed_to_its_pool_and_paid_for_when_that_is_busy() -> None:
    desk = Desk(FULL, LIGHT)
    for _ in range(20):
        for _ in range(10_000):
            desk.place(asks(minimum_tier=Tier.FULL))
        workers = desk.placement.outlook.workers
        desk.placement.prices.tick(0.1, workers=workers, backlog_s=dict.fromkeys(workers, 0.0))
        desk.now += 0.1
    assert desk.place(asks(timeout_s=100.0)).variant_id == LIGHT.id


def test_a_cost_is_that_of_the_cheapest_acceptable_variant_and_a_guess_until_something_is_known() -> None:
    desk = Desk(FULL, LIGHT)
    assert desk.placement.min_cost_s(asks(), 20, desk.now) == UNKNOWN_COST_S
    known = [offers.variant(tier) for tier in (Tier.FULL, Tier.LIGHT)]
    desk.hold(*known)
    cheap, dear = (desk.placement.min_cost_s(asks(minimum_tier=tier), 20, desk.now) for tier in (Tier.LIGHT, Tier.FULL))
    assert 0 < cheap < dear
    assert desk.placement.min_cost_s(asks(), 40, desk.now) == pytest.approx(2 * cheap)
