"""Which step comes next in a swap: pure, so that whole lives of a worker are played through in a test."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluice.tier import Level
from sluice.worker.swap_step import Budget, Place, Side, Step, Wish, next_step, wish_of

DISK, MEMORY, SERVING = Place.DISK, Place.MEMORY, Place.SERVING
ROOMY = Budget(free_bytes=1_000, keeps_light=True)
TIGHT = Budget(free_bytes=5, keeps_light=True)
OVER = Budget(free_bytes=-1, keeps_light=True)
UNKNOWN = Budget(free_bytes=None, keeps_light=False)


def full(place: Place, *, barred: bool = False, proven: bool = True) -> Side:
    return Side(place=place, size_bytes=100, barred=barred, proven=proven)


def light(place: Place, *, barred: bool = False, proven: bool = True) -> Side:
    return Side(place=place, size_bytes=20, barred=barred, proven=proven)


@pytest.mark.parametrize(
    ("levels", "share", "wish"),
    [
        ((), 0.0, Wish.FULL),
        ((Level.OFFLOAD, Level.ADMIT), 1.0, Wish.FULL),
        ((Level.LIGHTEN,), 1.0, Wish.LIGHT),
        ((Level.OFFLOAD, Level.LIGHTEN), 0.4, Wish.BOTH),
        ((Level.LIGHTEN,), 0.0, Wish.BOTH),
        ((Level.LIGHTEN,), float("nan"), Wish.BOTH),
    ],
)
def test_levels_and_share_say_what_shall_serve(levels: tuple[Level, ...], share: float, wish: Wish) -> None:
    assert wish_of(levels, share) is wish


@pytest.mark.parametrize(
    ("wish", "full_side", "light_side", "budget", "step"),
    [
        # Down: the copy first, then the full model goes.
        (Wish.LIGHT, full(SERVING), light(DISK), ROOMY, Step.LOAD_LIGHT),
        (Wish.LIGHT, full(SERVING), light(MEMORY), ROOMY, Step.SERVE_LIGHT),
        (Wish.LIGHT, full(SERVING), light(MEMORY), OVER, Step.SERVE_LIGHT),
        (Wish.LIGHT, full(SERVING), light(SERVING), ROOMY, Step.RELEASE_FULL),
        (Wish.LIGHT, full(MEMORY), light(SERVING), ROOMY, Step.RELEASE_FULL),
        (Wish.LIGHT, full(DISK), light(SERVING), ROOMY, None),
        # Both do not fit: first the full model goes.
        (Wish.LIGHT, full(SERVING), light(DISK), TIGHT, Step.RELEASE_FULL),
        (Wish.LIGHT, full(SERVING), light(DISK), UNKNOWN, Step.RELEASE_FULL),
        (Wish.LIGHT, full(DISK), light(DISK), OVER, Step.LOAD_LIGHT),
        # A part of the work: both, while memory allows it, and no full model is brought back for it.
        (Wish.BOTH, full(SERVING), light(SERVING), ROOMY, None),
        (Wish.BOTH, full(SERVING), light(SERVING), UNKNOWN, None),
        (Wish.BOTH, full(SERVING), light(SERVING), OVER, Step.RELEASE_FULL),
        (Wish.BOTH, full(MEMORY), light(SERVING), ROOMY, Step.SERVE_FULL),
        (Wish.BOTH, full(SERVING), light(DISK), TIGHT, Step.RELEASE_FULL),
        (Wish.BOTH, full(DISK), light(SERVING), ROOMY, None),
        # Back up.
        (Wish.FULL, full(DISK), light(SERVING), ROOMY, Step.LOAD_FULL),
        (Wish.FULL, full(MEMORY), light(SERVING), OVER, Step.SERVE_FULL),
        (Wish.FULL, full(SERVING), light(SERVING), ROOMY, Step.WITHDRAW_LIGHT),
        (Wish.FULL, full(SERVING), light(SERVING), UNKNOWN, Step.RELEASE_LIGHT),
        (Wish.FULL, full(SERVING), light(MEMORY), ROOMY, None),
        (Wish.FULL, full(SERVING), light(MEMORY), UNKNOWN, Step.RELEASE_LIGHT),
        (Wish.FULL, full(SERVING), light(DISK), ROOMY, Step.LOAD_LIGHT),
        (Wish.FULL, full(SERVING), light(DISK), TIGHT, None),
        (Wish.FULL, full(SERVING), light(DISK), UNKNOWN, None),
        # No room beside the copy, but without it; or not even then; or nobody knows.
        (Wish.FULL, full(DISK), light(SERVING), Budget(free_bytes=85, keeps_light=True), Step.RELEASE_LIGHT),
        (Wish.FULL, full(DISK), light(SERVING), TIGHT, None),
        (Wish.FULL, full(DISK), light(SERVING), UNKNOWN, Step.RELEASE_LIGHT),
        (Wish.FULL, full(DISK), light(DISK), OVER, Step.LOAD_FULL),
        # Turned round in the middle: what is in memory serves until the other one can.
        (Wish.FULL, full(DISK), light(MEMORY), ROOMY, Step.SERVE_LIGHT),
        # A copy that failed costs no full model, now or when it is tried again.
        (Wish.LIGHT, full(SERVING), light(DISK, barred=True, proven=False), ROOMY, None),
        (Wish.BOTH, full(SERVING), light(DISK, barred=True, proven=False), OVER, None),
        (Wish.LIGHT, full(SERVING), light(DISK, proven=False), ROOMY, Step.LOAD_LIGHT),
        (Wish.LIGHT, full(SERVING), light(DISK, proven=False), TIGHT, None),
        (Wish.LIGHT, full(DISK), light(DISK, barred=True, proven=False), TIGHT, Step.LOAD_FULL),
        # A full model that cannot be loaded again leaves the copy serving.
        (Wish.FULL, full(DISK, barred=True, proven=False), light(SERVING), ROOMY, None),
        (Wish.FULL, full(DISK, barred=True, proven=False), light(DISK), TIGHT, Step.LOAD_LIGHT),
        (Wish.FULL, full(DISK, proven=False), light(SERVING), Budget(free_bytes=85, keeps_light=True), None),
        (Wish.LIGHT, full(DISK, barred=True), light(DISK, barred=True), ROOMY, None),
        (Wish.FULL, full(DISK, barred=True), light(DISK, barred=True), ROOMY, None),
    ],
)
def test_the_next_step(wish: Wish, full_side: Side, light_side: Side, budget: Budget, step: Step | None) -> None:
    assert next_step(wish, full_side, light_side, budget) is step


BARRED_TURNS = 3
MOST_STEPS = 12


@dataclass
class One:
    """A checkpoint of a simulated worker."""

    size: int
    place: Place = DISK
    failed_turns_ago: int | None = None
    loads: int = 0

    def side(self) -> Side:
        barred = self.failed_turns_ago is not None and self.failed_turns_ago < BARRED_TURNS
        return Side(place=self.place, size_bytes=self.size, barred=barred, proven=self.failed_turns_ago is None)


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

    def step(self, wish: Wish) -> Step | None:
        """Take one step, and check what must hold of any."""
        free = self.ceiling - self.used if self.known else None
        budget = Budget(free_bytes=free, keeps_light=self.keeps_light)
        before = self.serving
        step = next_step(wish, self.full.side(), self.light.side(), budget)
        for one in (self.full, self.light):
            if one.failed_turns_ago is not None:
                one.failed_turns_ago += 1
        if step is None:
            return None
        verb, name = step.value.split()
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
        full=One(full_size, place=draw(st.sampled_from(Place))),
        light=One(light_size, place=draw(st.sampled_from(Place))),
        ceiling=others + full_size + draw(st.integers(0, 150)),
        others=others,
        known=draw(st.booleans()),
        keeps_light=draw(st.booleans()),
    )


@given(workers(), st.sampled_from(Wish))
def test_from_wherever_it_is_the_wish_is_reached_and_then_nothing_moves(worker: Simulated, wish: Wish) -> None:
    for _ in range(MOST_STEPS):
        if worker.step(wish) is None:
            break
    assert worker.step(wish) is None
    if wish is Wish.FULL:
        assert worker.full.place is SERVING
        assert worker.light.place is not SERVING
        if worker.known and not worker.keeps_light:
            assert worker.light.place is DISK
    else:
        assert worker.light.place is SERVING
        assert worker.full.place is not MEMORY
        if wish is Wish.LIGHT:
            assert worker.full.place is DISK


@given(workers(), st.lists(st.sampled_from(Wish), max_size=60))
def test_a_wish_that_flaps_never_takes_more_memory_than_there_is_and_is_obeyed_in_the_end(
    worker: Simulated, wishes: list[Wish]
) -> None:
    within = worker.used <= worker.ceiling
    for wish in wishes:
        worker.step(wish)
        within = within or worker.used <= worker.ceiling
        assert not within or worker.used <= worker.ceiling
    for _ in range(MOST_STEPS):
        worker.step(Wish.FULL)
    assert worker.full.place is SERVING
    assert worker.light.place is not SERVING


@given(workers(), st.lists(st.sampled_from(Wish), max_size=40), st.sampled_from([{"light"}, {"full"}]))
def test_one_bad_checkpoint_leaves_the_other_serving_and_is_not_tried_all_the_time(
    worker: Simulated, wishes: list[Wish], bad: set[str]
) -> None:
    worker.bad = bad
    one, other = (worker.light, worker.full) if bad == {"light"} else (worker.full, worker.light)
    one.place = DISK
    for wish in wishes:
        worker.step(wish)
    settled = [Wish.LIGHT, Wish.FULL][bad == {"full"}]
    for _ in range(MOST_STEPS):
        worker.step(settled)
    assert other.place is SERVING
    assert one.place is DISK
    turns = len(wishes) + MOST_STEPS
    assert one.loads <= 1 + turns / BARRED_TURNS
