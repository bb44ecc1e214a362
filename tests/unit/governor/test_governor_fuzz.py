"""Any sequence of messages, made by hypothesis: nothing is raised, and honest members are directed after it."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime, timedelta

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.governor.config import GovernorConfig
from services.governor.control_loop import Governor
from services.governor.leadership import LONGEST_TRIAL_LEASES, Superseded
from services.governor.members import DuplicateMemberId, TooManyMembers
from sluice.control.codec import fleet_to_proto, registration_from_proto, report_from_proto
from sluice.control.degradation.report import Report
from sluice.control.directive import ActiveDirective
from sluice.control.fleet import Registration
from sluice.domain.enums import MemberKind
from sluice.v1 import governor_service_pb2 as governor_pb2
from sluice.v1 import health_pb2

WALL_S = 1.8e9
NOW_NS = round(WALL_S * 1e9)
NOON = datetime(2027, 1, 15, tzinfo=UTC)

epochs = st.integers(0, 2**64 - 1) | st.sampled_from(
    [0, 1, 100, NOW_NS, NOW_NS + 1, NOW_NS + 3_600 * 10**9, NOW_NS + 86_399 * 10**9, 2**63, 2**64 - 2, 2**64 - 1]
)
floats = st.floats() | st.sampled_from([0.0, 0.5, 1.0])
degradations = st.fixed_dictionaries(
    {"levels": st.lists(st.integers(-1, 4), max_size=20), "offload_share": floats, "admit_scale": floats}
)
durations = st.fixed_dictionaries({"seconds": st.integers(-(2**62), 2**62) | st.integers(0, 10)})
obeyed = st.fixed_dictionaries(
    {"epoch": epochs, "revision": st.integers(0, 2**64 - 1), "degradation": degradations, "lease": durations}
)
cards = st.builds(
    governor_pb2.Registration,
    id=st.sampled_from(["a", "b", "c", "honest", ""]),
    kind=st.integers(0, 4),
    address=st.sampled_from(["a:1", "b:1", ""]),
    obeyed=st.none() | obeyed,
    directed=st.booleans(),
)
reports = st.builds(
    health_pb2.HealthReport,
    measured_at=st.fixed_dictionaries({"seconds": st.integers(-(2**62), 2**62) | st.integers(0, 10**9)}),
    utilization=st.none() | floats,
    memory=st.none() | floats,
    queue_delay=st.none() | durations,
    median_timeout=st.none() | durations,
    requests_per_second=floats,
    in_force=st.none() | degradations,
    applied=st.none() | st.fixed_dictionaries({"epoch": epochs, "revision": st.integers(0, 2**64 - 1)}),
    decides_alone=st.booleans(),
    draining=st.booleans(),
)
acks = st.tuples(epochs, st.integers(0, 2**64 - 1))
steps = st.lists(cards | reports | acks | st.floats(0, 100) | st.just("leave"), max_size=40)


class Session:
    """A governor and whoever speaks to it, as its servicer passes their messages on."""

    def __init__(self) -> None:
        self.now = 1_000.0
        self.governor = Governor(
            GovernorConfig(max_members=3),
            epoch=NOW_NS,
            clock=lambda: self.now,
            wall=lambda: WALL_S + self.now - 1_000.0,
        )
        self.seats: list[tuple[str, int]] = []

    def wall(self) -> float:
        """The wall clock of everybody."""
        return WALL_S + self.now - 1_000.0

    def take(self, step: object) -> None:
        """One message, or a time that passes."""
        if isinstance(step, float):
            self.now += step
        elif isinstance(step, governor_pb2.Registration):
            with suppress(ValueError, Superseded, DuplicateMemberId, TooManyMembers):
                card = registration_from_proto(step)
                self.seats.append((card.id, self.governor.join(card)))
        else:
            self.seats = [seat for seat in self.seats if self.governor.table.holds(*seat)]
            if self.seats:
                self.speak(*self.seats[-1], step)
        self.governor.tick()
        fleet_to_proto(self.governor.fleet()).SerializeToString()

    def speak(self, name: str, ticket: int, step: object) -> None:
        """A seated member's message."""
        if isinstance(step, health_pb2.HealthReport):
            try:
                report = report_from_proto(step)
            except ValueError:
                self.governor.leave(name, ticket)
                return
            self.governor.report(name, report)
        elif isinstance(step, tuple):
            self.governor.acknowledge(name, step)
        else:
            self.governor.leave(name, ticket)

    def directs(self, state: ActiveDirective) -> bool:
        """An honest member dials, and obeys what it is told: whether it then is directed."""
        card = Registration(
            id="new",
            kind=MemberKind.CPU_WORKER,
            address="new:1",
            obeyed=state.obeyed,
            is_directed=not state.is_autonomous(self.now),
        )
        with suppress(Superseded, TooManyMembers):
            self.governor.join(card)
            self.governor.report("new", Report(measured_at=NOON + timedelta(seconds=self.now)))
            state.apply(self.governor.controller.current, self.now)
        return state.current is not None and state.current.version == self.governor.controller.current.version


@settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(steps)
def test_no_messages_raise_or_leave_a_governor_that_cannot_direct(said: list[object]) -> None:
    session = Session()
    for step in said:
        session.take(step)
    # The attackers are gone, and so are their streams.
    for seat in session.seats:
        session.governor.leave(*seat)
    state = ActiveDirective(wall=session.wall)
    for _ in range(10 * (LONGEST_TRIAL_LEASES * 3 + 1)):
        session.now += 0.1
        session.governor.tick()
        if session.directs(state):
            break
    assert session.directs(state)
    assert session.governor.can_direct
