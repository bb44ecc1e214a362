"""Which step comes next in a swap: pure, so that whole lives of a worker are played through in a test."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluice.domain.enums import Level, Precision
from sluice.worker.models.swap_policy import (
    Action,
    DesiredState,
    FormState,
    MemoryBudget,
    PlannedStep,
    Residency,
    desired_state_of,
    next_step,
)

DISK, MEMORY, SERVING = Residency.DISK, Residency.MEMORY, Residency.SERVING
FULL, LIGHT = 0, 1
# What shall serve, and what may beside it.
WISHES = {"full": (FULL, None), "both": (LIGHT, FULL), "light": (LIGHT, None)}


@dataclass(frozen=True)
class Room:
    """Memory as a pair sees it: bytes that are free, and whether the copy may stay beside the full model."""

    free_bytes: float | None
    keeps_light: bool


ROOMY = Room(free_bytes=1_000, keeps_light=True)
TIGHT = Room(free_bytes=5, keeps_light=True)
OVER = Room(free_bytes=-1, keeps_light=True)
UNKNOWN = Room(free_bytes=None, keeps_light=False)


def full(place: Residency, *, barred: bool = False, proven: bool = True) -> FormState:
    return FormState(place=place, size_bytes=100, barred=barred, proven=proven)


def light(place: Residency, *, barred: bool = False, proven: bool = True) -> FormState:
    return FormState(place=place, size_bytes=20, barred=barred, proven=proven)


@pytest.mark.parametrize(
    ("levels", "share", "wish"),
    [
        ((), 0.0, DesiredState()),
        ((Level.OFFLOAD, Level.ADMIT), 1.0, DesiredState()),
        ((Level.LIGHTEN,), 1.0, DesiredState(copies=1.0, lowers=True)),
        ((Level.OFFLOAD, Level.LIGHTEN), 0.4, DesiredState(copies=0.4, lowers=True)),
        ((Level.LIGHTEN,), 0.0, DesiredState(copies=0.0, lowers=True)),
    ],
)
def test_levels_and_share_say_what_shall_serve(levels: tuple[Level, ...], share: float, wish: str) -> None:
    assert desired_state_of(levels, share) == wish


def test_an_order_of_a_precision_is_read_while_its_level_is_in_force() -> None:
    assert desired_state_of((Level.OFFLOAD,), 0.0, Precision.FP8) == DesiredState()
    assert desired_state_of((Level.LIGHTEN,), 0.0, Precision.FP8) == DesiredState(lowers=True, precision=Precision.FP8)


@pytest.mark.parametrize(
    ("wish", "full_side", "light_side", "budget", "step"),
    [
        # Down: the copy first, then the full model goes.
        ("light", full(SERVING), light(DISK), ROOMY, "load light"),
        ("light", full(SERVING), light(MEMORY), ROOMY, "serve light"),
        ("light", full(SERVING), light(MEMORY), OVER, "serve light"),
        ("light", full(SERVING), light(SERVING), ROOMY, "release full"),
        ("light", full(MEMORY), light(SERVING), ROOMY, "release full"),
        ("light", full(DISK), light(SERVING), ROOMY, None),
        # Both do not fit: first the full model goes.
        ("light", full(SERVING), light(DISK), TIGHT, "release full"),
        ("light", full(SERVING), light(DISK), UNKNOWN, "release full"),
        ("light", full(DISK), light(DISK), OVER, "load light"),
        # A part of the work: both, while memory allows it, and no full model is brought back for it.
        ("both", full(SERVING), light(SERVING), ROOMY, None),
        ("both", full(SERVING), light(SERVING), UNKNOWN, None),
        ("both", full(SERVING), light(SERVING), OVER, "release full"),
        ("both", full(MEMORY), light(SERVING), ROOMY, "serve full"),
        ("both", full(SERVING), light(DISK), TIGHT, "release full"),
        ("both", full(DISK), light(SERVING), ROOMY, None),
        # Back up.
        ("full", full(DISK), light(SERVING), ROOMY, "load full"),
        ("full", full(MEMORY), light(SERVING), OVER, "serve full"),
        ("full", full(SERVING), light(SERVING), ROOMY, "withdraw light"),
        ("full", full(SERVING), light(SERVING), UNKNOWN, "release light"),
        ("full", full(SERVING), light(MEMORY), ROOMY, None),
        ("full", full(SERVING), light(MEMORY), UNKNOWN, "release light"),
        ("full", full(SERVING), light(DISK), ROOMY, "load light"),
        ("full", full(SERVING), light(DISK), TIGHT, None),
        ("full", full(SERVING), light(DISK), UNKNOWN, None),
        # No room beside the copy, but without it; or not even then; or nobody knows.
        ("full", full(DISK), light(SERVING), Room(free_bytes=85, keeps_light=True), "release light"),
        ("full", full(DISK), light(SERVING), TIGHT, None),
        ("full", full(DISK), light(SERVING), UNKNOWN, "release light"),
        ("full", full(DISK), light(DISK), OVER, "load full"),
        # Turned round in the middle: what is in memory serves until the other one can.
        ("full", full(DISK), light(MEMORY), ROOMY, "serve light"),
        # A copy that failed costs no full model, now or when it is tried again.
        ("light", full(SERVING), light(DISK, barred=True, proven=False), ROOMY, None),
        ("both", full(SERVING), light(DISK, barred=True, proven=False), OVER, None),
        ("light", full(SERVING), light(DISK, proven=False), ROOMY, "load light"),
        ("light", full(SERVING), light(DISK, proven=False), TIGHT, None),
        ("light", full(DISK), light(DISK, barred=True, proven=False), TIGHT, "load full"),
        # A full model that cannot be loaded again leaves the copy serving.
        ("full", full(DISK, barred=True, proven=False), light(SERVING), ROOMY, None),
        ("full", full(DISK, barred=True, proven=False), light(DISK), TIGHT, "load light"),
        ("full", full(DISK, proven=False), light(SERVING), Room(free_bytes=85, keeps_light=True), None),
        ("light", full(DISK, barred=True), light(DISK, barred=True), ROOMY, None),
        ("full", full(DISK, barred=True), light(DISK, barred=True), ROOMY, None),
    ],
)
def test_the_next_step(wish: str, full_side: FormState, light_side: FormState, budget: Room, step: str | None) -> None:
    assert of_two(wish, full_side, light_side, budget) == step


def of_two(wish: str, full_side: FormState, light_side: FormState, room: Room) -> str | None:
    """The next step of a model that has a copy and no lower precision, by its name."""
    wanted, beside = WISHES[wish]
    sides = (full_side, replace(light_side, stays=room.keeps_light))
    step = next_step(wanted, sides, MemoryBudget(room.free_bytes), beside=beside)
    return None if step is None else f"{step.act.value} {('full', 'light')[step.rung]}"


BARRED_TURNS = 3
MOST_STEPS = 12


@dataclass
class One:
    """A checkpoint of a simulated worker."""

    size: int
    place: Residency = DISK
    failed_turns_ago: int | None = None
    loads: int = 0

    def side(self) -> FormState:
        barred = self.failed_turns_ago is not None and self.failed_turns_ago < BARRED_TURNS
        return FormState(place=self.place, size_bytes=self.size, barred=barred, proven=self.failed_turns_ago is None)


@dataclass
class Simulated:
    """A worker whose loads succeed or fail as the test says, and whose memory is counted exactly."""

    full: One
    light: One
    ceiling: int
    others: int
    known: bool
    keeps_light: bool
    bad: set[str] = field(default_factory=set)

    @property
    def used(self) -> int:
        held = [one.size for one in (self.full, self.light) if one.place is not DISK]
        return self.others + sum(held)

    def step(self, wish: str) -> str | None:
        """Take one step, and check what must hold of any."""
        free = self.ceiling - self.used if self.known else None
        before = self.serving
        step = of_two(wish, self.full.side(), self.light.side(), Room(free, self.keeps_light))
        for one in (self.full, self.light):
            if one.failed_turns_ago is not None:
                one.failed_turns_ago += 1
        if step is None:
            return None
        verb, name = step.split()
        one, other = (self.full, self.light) if name == "full" else (self.light, self.full)
        if verb == "load":
            self._load(one, other, free, bad=name in self.bad)
        elif verb == "serve":
            assert one.place is MEMORY
            one.place = SERVING
        else:
            assert one.place is not DISK
            if one.place is SERVING and before == 1:
                # A gap: only when nothing else could be done.
                assert free is None or other.size > free
                assert other.failed_turns_ago is None
            one.place = MEMORY if verb == "withdraw" else DISK
        return step

    def _load(self, one: One, other: One, free: int | None, *, bad: bool) -> None:
        assert one.place is DISK
        assert one.failed_turns_ago is None or one.failed_turns_ago > BARRED_TURNS
        if other.place is not DISK:
            assert free is not None
            assert one.size <= free
        one.loads += 1
        if bad:
            one.failed_turns_ago = 0
        else:
            one.failed_turns_ago = None
            one.place = MEMORY

    @property
    def serving(self) -> int:
        """How many of the two serve."""
        return (self.full.place is SERVING) + (self.light.place is SERVING)


@st.composite
def workers(draw: st.DrawFn) -> Simulated:
    light_size = draw(st.integers(1, 100))
    full_size = draw(st.integers(light_size, 300))
    others = draw(st.integers(0, 100))
    return Simulated(
        full=One(full_size, place=draw(st.sampled_from(Residency))),
        light=One(light_size, place=draw(st.sampled_from(Residency))),
        ceiling=others + full_size + draw(st.integers(0, 150)),
        others=others,
        known=draw(st.booleans()),
        keeps_light=draw(st.booleans()),
    )


@given(workers(), st.sampled_from(sorted(WISHES)))
def test_from_wherever_it_is_the_wish_is_reached_and_then_nothing_moves(worker: Simulated, wish: str) -> None:
    for _ in range(MOST_STEPS):
        if worker.step(wish) is None:
            break
    assert worker.step(wish) is None
    if wish == "full":
        assert worker.full.place is SERVING
        assert worker.light.place is not SERVING
        if worker.known and not worker.keeps_light:
            assert worker.light.place is DISK
    else:
        assert worker.light.place is SERVING
        assert worker.full.place is not MEMORY
        if wish == "light":
            assert worker.full.place is DISK


@given(workers(), st.lists(st.sampled_from(sorted(WISHES)), max_size=60))
def test_a_wish_that_flaps_never_takes_more_memory_than_there_is_and_is_obeyed_in_the_end(
    worker: Simulated, wishes: list[str]
) -> None:
    within = worker.used <= worker.ceiling
    for wish in wishes:
        worker.step(wish)
        within = within or worker.used <= worker.ceiling
        assert not within or worker.used <= worker.ceiling
    for _ in range(MOST_STEPS):
        worker.step("full")
    assert worker.full.place is SERVING
    assert worker.light.place is not SERVING


@given(workers(), st.lists(st.sampled_from(sorted(WISHES)), max_size=40), st.sampled_from([{"light"}, {"full"}]))
def test_one_bad_checkpoint_leaves_the_other_serving_and_is_not_tried_all_the_time(
    worker: Simulated, wishes: list[str], bad: set[str]
) -> None:
    worker.bad = bad
    one, other = (worker.light, worker.full) if bad == {"light"} else (worker.full, worker.light)
    one.place = DISK
    for wish in wishes:
        worker.step(wish)
    settled = ["light", "full"][bad == {"full"}]
    for _ in range(MOST_STEPS):
        worker.step(settled)
    assert other.place is SERVING
    assert one.place is DISK
    turns = len(wishes) + MOST_STEPS
    assert one.loads <= 1 + turns / BARRED_TURNS


# Three ways to hold one model: as configured, in a lower precision, and its distilled copy, which may stay in memory.
OWN, LOWER, COPY = 0, 1, 2


def three(*places: Residency, proven: bool = True, barred: bool = False, stays: bool = True) -> tuple[FormState, ...]:
    """Sides of 100, 50 and 20 bytes; `proven` and `barred` are those of the lower precision."""
    own, lower, copy = places
    return (
        FormState(place=own, size_bytes=100),
        FormState(place=lower, size_bytes=50, proven=proven, barred=barred),
        FormState(place=copy, size_bytes=20, stays=stays),
    )


@pytest.mark.parametrize(
    ("wanted", "sides", "free", "step"),
    [
        # Down by one: the lower precision is there before the other goes, and the copy stays where it is.
        (LOWER, three(SERVING, DISK, MEMORY), 60, PlannedStep(Action.LOAD, LOWER)),
        (LOWER, three(SERVING, MEMORY, MEMORY), 10, PlannedStep(Action.SERVE, LOWER)),
        (LOWER, three(SERVING, SERVING, MEMORY), 10, PlannedStep(Action.RELEASE, OWN)),
        (LOWER, three(DISK, SERVING, MEMORY), 110, None),
        (LOWER, three(DISK, SERVING, DISK), 110, PlannedStep(Action.LOAD, COPY)),
        # No room beside: what nobody would miss goes first, and what serves only if that is not enough.
        (LOWER, three(SERVING, DISK, MEMORY), 40, PlannedStep(Action.RELEASE, COPY)),
        (LOWER, three(SERVING, DISK, DISK, stays=False), 40, PlannedStep(Action.RELEASE, OWN)),
        # A precision that was never tried costs nothing that serves.
        (LOWER, three(SERVING, DISK, DISK, proven=False, stays=False), 40, None),
        (LOWER, three(SERVING, DISK, DISK, proven=False, stays=False), 60, PlannedStep(Action.LOAD, LOWER)),
        (LOWER, three(SERVING, DISK, DISK, barred=True, stays=False), 60, None),
        # Further down, from either.
        (COPY, three(DISK, SERVING, MEMORY), 10, PlannedStep(Action.SERVE, COPY)),
        (COPY, three(DISK, SERVING, SERVING), 10, PlannedStep(Action.RELEASE, LOWER)),
        (COPY, three(SERVING, MEMORY, SERVING), 10, PlannedStep(Action.RELEASE, OWN)),
        (COPY, three(DISK, DISK, SERVING), 10, None),
        # Back up, from either.
        (OWN, three(DISK, SERVING, MEMORY), 110, PlannedStep(Action.LOAD, OWN)),
        (OWN, three(MEMORY, SERVING, MEMORY), 10, PlannedStep(Action.SERVE, OWN)),
        (OWN, three(SERVING, SERVING, MEMORY), 10, PlannedStep(Action.RELEASE, LOWER)),
        (OWN, three(SERVING, DISK, SERVING), 10, PlannedStep(Action.WITHDRAW, COPY)),
        (LOWER, three(DISK, DISK, SERVING), 60, PlannedStep(Action.LOAD, LOWER)),
        (LOWER, three(DISK, SERVING, SERVING), 60, PlannedStep(Action.WITHDRAW, COPY)),
        # What cannot be had leaves serving what serves, or else the best that there is.
        (LOWER, three(SERVING, DISK, SERVING, barred=True), 60, PlannedStep(Action.WITHDRAW, COPY)),
        (LOWER, three(DISK, DISK, DISK, barred=True), 10, PlannedStep(Action.LOAD, OWN)),
        (LOWER, three(DISK, DISK, MEMORY, barred=True), 10, PlannedStep(Action.SERVE, COPY)),
    ],
)
def test_the_next_step_of_three(
    wanted: int, sides: tuple[FormState, ...], free: float, step: PlannedStep | None
) -> None:
    assert next_step(wanted, sides, MemoryBudget(free)) == step


@given(
    st.permutations([30, 60, 100]),
    st.tuples(*[st.sampled_from(Residency)] * 3),
    st.lists(st.integers(0, 2), min_size=1, max_size=40),
    st.integers(0, 200),
    st.booleans(),
)
def test_of_three_the_wanted_one_serves_in_the_end_alone_and_within_memory(
    sizes: list[int], places: tuple[Residency, ...], wishes: list[int], spare: int, known: bool
) -> None:
    held = list(places)
    ceiling = max(sizes) + spare

    def used() -> int:
        return sum(size for size, place in zip(sizes, held, strict=True) if place is not DISK)

    def move(wanted: int) -> bool:
        free = ceiling - used() if known else None
        sides = [FormState(place=place, size_bytes=size) for place, size in zip(held, sizes, strict=True)]
        step = next_step(wanted, sides, MemoryBudget(free))
        if step is None:
            return False
        before = held.count(SERVING)
        held[step.rung] = {Action.LOAD: MEMORY, Action.SERVE: SERVING, Action.WITHDRAW: MEMORY, Action.RELEASE: DISK}[
            step.act
        ]
        if step.act is Action.LOAD and used() > sizes[step.rung]:
            assert free is not None
            assert sizes[step.rung] <= free
        if step.act is Action.RELEASE and before == 1 and SERVING not in held:
            # A gap: only where the wanted one had no room beside what served.
            assert free is None or sizes[wanted] > free
        return True

    within = used() <= ceiling
    for wanted in wishes:
        move(wanted)
        within = within or used() <= ceiling
        assert not within or used() <= ceiling
    last = wishes[-1]
    for _ in range(MOST_STEPS):
        if not move(last):
            break
    assert [place is SERVING for place in held] == [rung == last for rung in range(3)]
    assert held.count(DISK) == 2
