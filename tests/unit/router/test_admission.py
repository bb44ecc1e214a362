"""Whether a request is let in: the hard caps, the adaptive limit, and what both promise whatever comes."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.router.admission.controller import AdmissionController
from services.router.admission.demand import EdgeDemand
from services.router.admission.resource import Resource, Waiting
from services.router.requests.caller import Caller
from sluice.domain.enums import Level
from sluice.domain.errors import NoEndpoint, Outranked, Saturated, SluiceError
from tests.unit.router.groups import GROUP, VARIANT

TICK_S = 0.1


def asked(priority: float, *, hot: bool = False, client: str = "", texts: int = 1) -> EdgeDemand:
    """What one request asks of the only resource."""
    return EdgeDemand(priority=priority, hot=hot, model=VARIANT.model, caller=Caller(client), texts=texts)


@dataclass
class Desk:
    """An admission with one resource and a clock, and short ways of asking it."""

    admission: AdmissionController = field(
        default_factory=lambda: AdmissionController(max_requests=10**6, max_bytes=10**9)
    )
    now: float = 1_000.0

    def __post_init__(self) -> None:
        self.admission.regroup([GROUP])

    @property
    def resource(self) -> Resource:
        """The only one."""
        (only,) = self.admission.resources
        return only

    def admitted(self, size: int = 1, *, hot: bool = False, priority: float | None = None, client: str = "") -> bool:
        """Whether one request of 1 ms is let in."""
        if priority is None:
            priority = 0.9 if hot else 0.5
        demand = asked(priority, hot=hot, client=client)
        try:
            self.admission.admit(demand, size=size, cost=1e-3, now=self.now)
        except Saturated:
            return False
        self.admission.placed(demand, VARIANT.id, cost=1e-3, timeout_s=None)
        return True

    def release(self, size: int) -> None:
        """A request has ended."""
        self.admission.release(size, caller="", model=VARIANT.model)

    def came_with(self, timeout_s: float) -> None:
        """A request has so much time."""
        self.resource.signals.came_with(timeout_s)

    def tick(
        self, *, offered: int = 0, served: int = 0, waiting: float = 0.0, hot_share: float = 0.0, scale: float = 1.0,
        batch_s: float = 0.0,
    ) -> None:  # fmt: skip
        """A tenth of a second in which requests of uniform priorities come and some are answered."""
        for number in range(offered):
            priority = (number + 0.5) / offered
            self.admitted(priority=priority, hot=priority >= 0.7)
        for _ in range(served):
            self.admission.served(VARIANT.id, 1e-3)
        self.now += TICK_S
        found = {VARIANT.id: Waiting(waiting, waiting * hot_share, batch_s)}
        self.admission.tick(self.now, admit_scale=scale, waiting=found)

    def overload(self) -> None:
        """Three times what one device can do, for a second."""
        for _ in range(10):
            self.tick(offered=300, served=100, waiting=0.5)


def capped(requests: int = 10**6, size: int = 10**9) -> Desk:
    return Desk(AdmissionController(max_requests=requests, max_bytes=size))


def test_the_last_tenth_of_the_places_is_for_hot_requests() -> None:
    desk = capped(requests=20)
    assert [desk.admitted() for _ in range(20)] == [True] * 18 + [False] * 2
    assert [desk.admitted(hot=True) for _ in range(3)] == [True, True, False]


def test_the_last_tenth_of_the_text_is_for_hot_requests() -> None:
    desk = capped(size=1_000)
    assert desk.admitted(900)
    assert not desk.admitted(1)
    assert desk.admitted(100, hot=True)
    assert not desk.admitted(1, hot=True)


def test_a_refusal_for_want_of_room_says_when_to_come_back_and_takes_no_room() -> None:
    desk = capped(requests=1)
    assert desk.admitted(10, hot=True)
    with pytest.raises(Saturated) as caught:
        desk.admission.admit(asked(0.9, hot=True), size=10, cost=1e-3, now=desk.now)
    assert type(caught.value) is Saturated
    assert caught.value.retry_after_s is not None
    assert caught.value.retry_after_s > 0
    assert (desk.admission.requests, desk.admission.size) == (1, 10)


def test_a_single_place_serves_cold_requests_too() -> None:
    assert capped(requests=1).admitted()


def test_what_ends_makes_room() -> None:
    desk = capped(requests=1, size=100)
    for _ in range(3):
        assert desk.admitted(80, hot=True)
        assert not desk.admitted(1, hot=True)
        desk.release(80)
    assert (desk.admission.requests, desk.admission.size) == (0, 0)


@pytest.mark.parametrize("seed", range(10))
def test_no_mix_of_requests_ever_exceeds_the_limits(seed: int) -> None:
    dice = random.Random(seed)
    desk = capped(requests=30, size=3_000)
    admission = desk.admission
    held: list[int] = []
    refusals = 0
    for step in range(2_000):
        if held and dice.random() < 0.45:
            desk.release(held.pop(dice.randrange(len(held))))
            continue
        if step % 50 == 0:
            desk.tick(waiting=dice.random() * 0.01)
        size, hot = dice.randint(1, 400), dice.random() < 0.3
        cold_room = (admission.requests + 1 <= 27) and (admission.size + size <= 2_700)
        if desk.admitted(size, hot=hot):
            held.append(size)
            assert hot or cold_room
        else:
            refusals += 1
        assert (admission.requests, admission.size) == (len(held), sum(held))
        assert len(held) <= 30
        assert sum(held) <= 3_000
    assert refusals > 0


def test_without_an_overload_nothing_is_refused() -> None:
    desk = Desk()
    for _ in range(50):
        desk.tick(offered=50, served=50, waiting=0.005)
    assert desk.admission.signals.refused_ratio == 0.0
    assert (desk.admission.theta, desk.admission.is_shedding) == (0.0, False)


def test_under_overload_the_least_important_are_refused_and_hot_requests_never() -> None:
    desk = Desk()
    desk.overload()
    assert desk.admission.is_shedding
    theta = desk.admission.theta
    assert 0.5 < theta < 1.0
    assert [desk.admitted(priority=priority) for priority in (0.0, theta - 0.05)] == [False, False]
    assert all(desk.admitted(priority=priority, hot=True) for priority in (0.7, 0.71, 1.0))


def test_a_refusal_by_priority_says_so_and_how_matters_stand() -> None:
    desk = Desk(AdmissionController(max_requests=10**6, max_bytes=10**9, levels=lambda: (Level.OFFLOAD, Level.ADMIT)))
    desk.overload()
    with pytest.raises(Outranked) as caught:
        desk.admission.admit(asked(0.1), size=1, cost=1e-3, now=desk.now)
    assert caught.value.retry_after_s is None
    assert caught.value.metadata == {"level": "1,3", "theta": f"{desk.admission.theta:.3f}"}


def test_who_is_worth_it_is_asked_back_later_the_longer_the_queue() -> None:
    desk = Desk()
    desk.overload()
    refused = desk.admission.reject_early(asked(0.5), now=desk.now)
    assert refused is not None
    after_s = refused.error().retry_after_s
    assert after_s is not None
    assert after_s > 0.1 * (1 + desk.resource.queue_s / desk.resource.target_s)


def test_what_the_door_lets_pass_admission_lets_in() -> None:
    desk = Desk()
    desk.overload()
    outcomes = {True: 0, False: 0}
    for number in range(2_000):
        priority, client = number % 100 / 100, f"c{number % 37}"
        hot = priority >= 0.7
        before = desk.admission.requests
        at_the_door = desk.admission.reject_early(asked(priority, hot=hot, client=client), now=desk.now)
        assert desk.admission.requests == before
        if at_the_door is None:
            assert desk.admitted(priority=priority, hot=hot, client=client)
        outcomes[at_the_door is None] += 1
    assert min(outcomes.values()) > 100


def test_caps_alone_never_look_at_the_queue() -> None:
    desk = Desk(AdmissionController(max_requests=10**6, max_bytes=10**9, adaptive=False))
    desk.overload()
    desk.overload()
    assert not desk.admission.is_shedding
    assert desk.admitted(priority=0.0)
    # The governor reads the queue all the same.
    assert (desk.admission.signals.standing_queue_delay_s or 0.0) > 0.3


def test_work_that_waits_is_bounded_and_part_of_the_bound_is_for_hot_requests() -> None:
    desk = Desk()
    desk.came_with(2.0)
    desk.overload()
    cold = sum(desk.admitted(priority=0.699) for _ in range(3_000))
    hot = sum(desk.admitted(hot=True) for _ in range(3_000))
    # At a capacity of one device-second a second, no more waits than 1 ms requests for half of the time limit.
    assert cold < 700
    assert 900 < hot <= 1_100


def test_cold_work_that_waits_never_shuts_out_a_hot_request() -> None:
    desk = Desk()
    desk.came_with(2.0)
    for _ in range(10):
        desk.tick(offered=300, served=100, waiting=5.0)
    assert not desk.admitted(priority=0.699)
    assert desk.admitted(hot=True)
    desk.tick(served=100, waiting=5.0, hot_share=0.9)
    assert not desk.admitted(hot=True)


def test_level_3_lowers_the_set_point() -> None:
    usual, lowered = Desk(), Desk()
    for desk, scale in ((usual, 1.0), (lowered, 0.5)):
        for _ in range(10):
            desk.tick(offered=150, served=100, waiting=0.015, scale=scale)
    assert lowered.resource.target_s == usual.resource.target_s / 2
    assert not usual.admission.is_shedding
    assert lowered.admission.theta > 0.0


def test_the_set_point_is_one_batch_unless_that_would_eat_up_the_callers_time() -> None:
    desk = Desk()

    def target_s(batch_s: float, timeout_s: float) -> float:
        for _ in range(11):
            desk.came_with(timeout_s)
            desk.tick(batch_s=batch_s)
        return desk.resource.target_s

    assert target_s(0.001, 10.0) == 0.02
    assert target_s(0.2, 10.0) == 0.2
    assert target_s(0.2, 0.4) == pytest.approx(0.1)
    desk = Desk(AdmissionController(max_requests=10, max_bytes=10, queue_target_s=0.3))
    assert target_s(0.001, 0.4) == 0.3


def test_a_handful_after_a_quiet_time_is_no_overload_however_little_was_served_before() -> None:
    desk = Desk()
    for _ in range(20):
        desk.came_with(1.0)
        desk.tick(offered=1, served=1, waiting=0.0)
        desk.tick()
        desk.tick()
        desk.tick(offered=100, served=0, waiting=0.1)
        desk.tick(served=100, waiting=0.0)
        assert not desk.admission.is_shedding


@pytest.mark.parametrize("timeout_s", [0.5, 1.0, 10.0, 3_600.0])
def test_the_law_acts_before_the_caps_do_whatever_time_callers_have(timeout_s: float) -> None:
    desk = Desk()
    waiting = 0.0
    for _ in range(200):
        desk.came_with(timeout_s)
        desk.tick(offered=101, served=100, waiting=waiting)
        if desk.admission.theta:
            break
        assert not desk.admission.signals.refused_ratio
        waiting += min(0.06, 0.02 * timeout_s)
    assert desk.admission.theta > 0.0


def refused_place(desk: Desk, error: SluiceError, *, hot: bool = False) -> SluiceError:
    """One request that is let in and then finds no place, and what it is told."""
    demand = asked(0.9 if hot else 0.5, hot=hot)
    closed = desk.admission.admit(demand, size=1, cost=1e-3, now=desk.now)
    return desk.admission.withdraw(demand, closed, error, size=1, cost=1e-3, timeout_s=1.0)


def test_what_never_came_to_wait_is_taken_back() -> None:
    desk = Desk()
    desk.overload()
    open_before = desk.admission.requests
    for _ in range(2_000):
        error = NoEndpoint("nobody")
        assert refused_place(desk, error, hot=True) is error
    assert desk.admission.requests == open_before


def test_a_request_that_was_let_in_and_found_no_time_was_refused_all_the_same() -> None:
    desk = Desk()
    desk.tick()
    error = Saturated("no time")
    assert refused_place(desk, error) is error
    desk.tick()
    assert desk.admission.signals.refused_ratio == 1.0
    assert error.metadata == {"level": "0", "theta": "0.000"}


lies = st.sampled_from([math.nan, math.inf, -math.inf, -1.0, 0.0, 1e-3, 0.5, 1e9])


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("admit"), st.floats(0, 1), lies, st.sampled_from(["", "a", "b"])),
            st.tuples(st.just("door"), st.floats(0, 1), st.integers(1, 5), st.sampled_from(["", "a", "b"])),
            st.tuples(st.just("served"), lies),
            st.tuples(st.just("end")),
            st.tuples(st.just("tick"), st.floats(-5, 5), lies, lies, lies),
        ),
        max_size=200,
    )
)
def test_whatever_comes_releases_balance_admissions_and_all_values_stay_in_range(
    events: list[tuple[object, ...]],
) -> None:
    desk = Desk(AdmissionController(max_requests=10, max_bytes=10_000))
    admission, resource = desk.admission, desk.resource
    now, held = 0.0, list[str]()
    for name, *values in events:
        if name == "admit":
            priority, cost, client = values
            demand = asked(priority, hot=priority >= 0.7, client=client)  # type: ignore[arg-type, operator]
            try:
                admission.admit(demand, size=7, cost=cost, now=now)  # type: ignore[arg-type]
            except Saturated:
                continue
            admission.placed(demand, VARIANT.id, cost=cost, timeout_s=1.0)  # type: ignore[arg-type]
            held.append(client)  # type: ignore[arg-type]
        elif name == "door":
            priority, texts, client = values
            demand = asked(priority, hot=priority >= 0.7, client=client, texts=texts)  # type: ignore[arg-type, operator]
            admission.reject_early(demand, now=now)
        elif name == "served":
            admission.served(VARIANT.id, values[0])  # type: ignore[arg-type]
            admission.waited(VARIANT.id, 1.0)
        elif name == "end" and held:
            admission.release(7, caller=held.pop(), model=VARIANT.model)
        elif name == "tick":
            passed, scale, backlog, batch = values
            now += passed  # type: ignore[operator]
            found = {VARIANT.id: Waiting(backlog, 0.0, batch)}  # type: ignore[arg-type]
            admission.tick(now, admit_scale=scale, waiting=found)  # type: ignore[arg-type]
        assert (admission.requests, admission.size) == (len(held), 7 * len(held))
        assert len(held) <= 10
        assert 0.0 <= admission.theta <= 1.0
        assert 0.0 <= resource.queue_s < math.inf
        assert 0.0 < resource.target_s < math.inf
        assert resource.capacity_per_s is None or 0.0 <= resource.capacity_per_s < math.inf
