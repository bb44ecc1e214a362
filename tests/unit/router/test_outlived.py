"""Nothing that a worker said outlives it: after a lie at once, else after an hour, it might as well not have been."""

from __future__ import annotations

from collections.abc import Callable

from hypothesis import given, settings
from hypothesis import strategies as st

from services.router.requests.request import Request
from services.router.scheduling.complexity import load_complexity
from services.router.scheduling.model_registry import MOST_REMEMBERED, REMEMBERED_S, ModelRegistry
from services.router.scheduling.probing import Probing
from services.router.scheduling.scheduler import AGE_S, Scheduler
from sluice.control.directive import ActiveDirective
from sluice.domain.enums import QueryClass, Task, Tier
from sluice.domain.errors import SluiceError
from sluice.domain.variant import BatchTime, Variant, variant_id
from tests.unit.router.offers import Bench

TIERS = (Tier.FULL, Tier.LIGHT, Tier.QUANTIZED)
LIAR, HONEST = "liar:1", "honest:1"


@st.composite
def cards(draw: st.DrawFn) -> Variant:
    """Any card that a worker may send, for one of three models."""
    model, tier = draw(st.sampled_from("abc")), draw(st.sampled_from(TIERS))
    time_s = draw(st.sampled_from([1e-6, 0.01, 3_600.0]))
    buckets = draw(st.lists(st.floats(0, 1), max_size=64))
    return Variant(
        id=variant_id(model, tier, "fp32"),
        model=model,
        tier=tier,
        task=draw(st.sampled_from([one for one in Task if one is not Task.UNSPECIFIED])),
        max_batch_size=draw(st.sampled_from([1, 128, 65_536])),
        quality=draw(st.none() | st.floats(0, 1)),
        quality_by_complexity=tuple(buckets),
        profile=draw(st.sampled_from([(), (BatchTime(items=1, tokens=8, time_s=time_s, deviation_s=time_s),)])),
    )


HELD = st.lists(cards(), max_size=3, unique_by=lambda one: one.id)


class Fleet:
    """A placement, and the workers that it sees."""

    def __init__(self) -> None:
        self.up: dict[str, list[Variant]] = {}
        self.now = 1_000.0
        self.placement = Scheduler(
            default_model="",
            priced=True,
            max_batch_size=128,
            complexity=load_complexity(""),
            directives=ActiveDirective(),
            workers=lambda: [
                Bench(*(one for one in held if one.task is not Task.TEXT_GENERATION)) for held in self.up.values()
            ],
            queues={},
            dice=lambda: 0.5,
        )

    def set(self, address: str, held: list[Variant]) -> None:
        """The worker holds these now; none: it is gone."""
        self.up.pop(address, None)
        if held:
            self.up[address] = held
        self.placement.update(self.up.values(), sources=list(self.up), now=self.now)
        self.placement.look(self.now)

    def decide(self, model: str, minimum: Tier, wanted: QueryClass) -> object:
        """What becomes of a request: its assignment, or how it is refused."""
        asked = Request(model=model, text="text", deadline=self.now + 2, minimum_tier=minimum, query_class=wanted)
        try:
            self.placement.identify(asked)
            return self.placement.place(asked, tokens=8, hot=False, now=self.now)
        except SluiceError as error:
            return type(error), error.message

    def decisions(self) -> list[object]:
        """What becomes of all kinds of requests."""
        return [
            self.decide(model, minimum, wanted)
            for model in ("", "a", "b", "c", "d")
            for minimum in (Tier.UNSPECIFIED, *TIERS)
            for wanted in (QueryClass.SIMPLE, QueryClass.COMPLEX)
        ]


def lie(fleet: Fleet) -> None:
    """The liar is found out."""
    said = fleet.up.get(LIAR, [])
    fleet.set(LIAR, [])
    fleet.placement.distrust(LIAR, said, fleet.now)
    fleet.placement.look(fleet.now)


def leave(fleet: Fleet) -> None:
    """The liar leaves in peace, and an hour passes."""
    fleet.set(LIAR, [])
    fleet.now += REMEMBERED_S + AGE_S + 1
    fleet.placement.look(fleet.now)


@settings(max_examples=60, deadline=None)
@given(HELD.filter(bool), st.lists(HELD, min_size=1, max_size=4), st.sampled_from([lie, leave]))
def test_decisions_after_a_liar_are_those_of_a_router_that_never_met_it(
    honest: list[Variant], said: list[list[Variant]], end: Callable[[Fleet], None]
) -> None:
    met, never = Fleet(), Fleet()
    met.set(HONEST, honest)
    for held in said:
        met.now += 1.0
        met.set(LIAR, held)
        # Whatever it says, every request ends in an assignment or a refusal.
        met.decisions()
    end(met)
    # What both decide in the same order: prices and means of what was asked before are no facts about workers.
    never.now = met.now
    never.set(HONEST, honest)
    met.placement.prices, met.placement._flow = never.placement.prices, never.placement._flow
    met.placement._item_tokens, met.placement._placed = never.placement._item_tokens, never.placement._placed
    met.placement._probing = Probing()
    met.placement.refresh()
    for model in ("", "a", "b", "c", "d"):
        for minimum in TIERS:
            found = [fleet.decide(model, minimum, QueryClass.SIMPLE) for fleet in (met, never)]
            assert found[0] == found[1]
    assert met.placement.view.facts.keys() == never.placement.view.facts.keys()
    assert met.placement.outlook.best.keys() == never.placement.outlook.best.keys()


def card(model: str, tier: Tier = Tier.FULL) -> Variant:
    return Variant(id=variant_id(model, tier, "fp32"), model=model, tier=tier, task=Task.TEXT_CLASSIFICATION)


def test_a_tier_that_is_merely_down_is_remembered_for_an_hour_and_no_longer() -> None:
    view = ModelRegistry().with_workers([[card("m")], [card("m", Tier.LIGHT)]], sources=["x", "y"], now=0.0)
    view = view.with_workers([[card("m", Tier.LIGHT)]], sources=["y"], now=5_000.0)
    assert view.aged(5_000.0 + REMEMBERED_S).offered == {"m": {Tier.FULL, Tier.LIGHT}}
    assert view.aged(5_001.0 + REMEMBERED_S).offered == {"m": {Tier.LIGHT}}


def test_what_another_worker_said_too_outlives_the_liar() -> None:
    view = ModelRegistry().with_workers([[card("m")], [card("m"), card("lie")]], sources=["x", "liar"], now=0.0)
    view = view.with_workers([], now=1.0)
    assert view.without("liar", 2.0).offered == {"m": {Tier.FULL}}


def test_no_more_is_remembered_than_may_be_however_many_models_come_and_go() -> None:
    view = ModelRegistry()
    for number in range(MOST_REMEMBERED + 50):
        view = view.with_workers([[card(f"m{number}")]], sources=["x"], now=float(number))
    assert len(view.offered) == MOST_REMEMBERED + 1
    assert "m0" not in view.names
