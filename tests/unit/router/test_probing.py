"""When a belief about a variant's speed is put to the test, and how rarely where it holds."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from services.router.scheduling.probing import AVOIDED_S, FRESH_S, HOT_S, LOOK_S, MAX_INTERVAL_S, REFUSED_S, Probing

NEVER = float("-inf")


def play(seconds: float, *, truth: float, least_s: float = REFUSED_S, step_s: float = 0.05) -> list[float]:
    """When a variant of profile pace 1 is probed that takes `truth` times its profile and is asked for all the time."""
    probing, pace, answered_at, probes = Probing(), 1.0, NEVER, list[float]()
    for tick in range(int(seconds / step_s)):
        now = tick * step_s
        if probing.is_due("v", pace=pace, answered_at=answered_at, least_s=least_s, now=now):
            probing.probed("v", pace=pace, answered_at=answered_at, least_s=least_s, now=now)
            probes.append(now)
            pace += 0.5 * (max(truth, pace / 8) - pace)
            answered_at = now + 1e-3
    return probes


def test_a_belief_that_holds_is_tested_ever_more_rarely() -> None:
    probes = play(600.0, truth=1.0)
    gaps = [later - sooner for sooner, later in pairwise(probes)]
    assert gaps[-1] >= MAX_INTERVAL_S
    assert len(probes) < 20


def test_a_belief_that_does_not_hold_is_corrected_within_seconds() -> None:
    probes = play(5.0, truth=1 / 30)
    assert len([at for at in probes if at < 2.0]) >= 5


def test_what_serves_is_not_probed() -> None:
    probing = Probing()
    assert not probing.is_due("v", pace=1.0, answered_at=10.0, least_s=REFUSED_S, now=10.0 + FRESH_S / 2)
    assert probing.is_due("v", pace=1.0, answered_at=10.0, least_s=REFUSED_S, now=10.0 + FRESH_S)


def test_a_probe_that_is_never_answered_does_not_bring_the_next_one_sooner() -> None:
    probing, probes = Probing(), list[float]()
    for tick in range(2_000):
        now = tick * 0.1
        if probing.is_due("v", pace=1.0, answered_at=NEVER, least_s=REFUSED_S, now=now):
            probing.probed("v", pace=1.0, answered_at=NEVER, least_s=REFUSED_S, now=now)
            probes.append(now)
    assert len(probes) < 15


@given(truth=st.floats(1e-3, 1e3), least_s=st.sampled_from([REFUSED_S, AVOIDED_S]))
def test_probes_are_never_closer_than_they_may_be(truth: float, least_s: float) -> None:
    probes = play(60.0, truth=truth, least_s=least_s)
    assert probes
    assert all(later - sooner >= least_s - 1e-9 for sooner, later in pairwise(probes))


def test_avoided_variants_are_looked_for_ten_times_a_second_at_most() -> None:
    probing = Probing()
    looks = [tick for tick in range(1_000) if probing.may_look(tick * LOOK_S / 10)]
    assert 95 <= len(looks) <= 100


def test_a_variant_that_is_gone_is_forgotten() -> None:
    probing = Probing()
    probing.probed("v", pace=1.0, answered_at=NEVER, least_s=REFUSED_S, now=0.0)
    probing.keep({"other"})
    assert probing.is_due("v", pace=1.0, answered_at=NEVER, least_s=REFUSED_S, now=0.0)


@given(age_s=st.floats(0.0, 2 * HOT_S), beside=st.sets(st.sampled_from(["hot", "cold"])))
def test_hot_requests_on_the_same_workers_count_for_ten_seconds(age_s: float, beside: set[str]) -> None:
    probing = Probing()
    probing.note_hot("hot", 0.0)
    assert probing.would_hold_up_hot(beside, age_s) is ("hot" in beside and age_s < HOT_S)
    probing.keep({"cold"})
    assert not probing.would_hold_up_hot(beside, 0.0)


def test_a_probe_that_would_hold_up_hot_requests_is_rare_unless_it_refutes_the_belief() -> None:
    probing = Probing()
    probing.probed("v", pace=1.0, answered_at=NEVER, least_s=REFUSED_S, now=0.0, is_rare=True)
    confirmed = {"pace": 1.0, "answered_at": 0.5, "least_s": REFUSED_S}
    assert not probing.is_due("v", **confirmed, now=MAX_INTERVAL_S - 1)
    assert probing.is_due("v", **confirmed, now=MAX_INTERVAL_S)
    assert probing.is_due("v", pace=0.1, answered_at=0.5, least_s=REFUSED_S, now=1.0)
