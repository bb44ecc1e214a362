"""Which workers a router uses, by what is known of each."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from services.router.workers.endpoints import FORGOTTEN_S, Evidence, RosterIndex, Standing, standing_of
from sluice.control.fleet import Departure, DepartureReason
from sluice.control.roster import Roster, RosterEntry
from sluice.domain.enums import MemberKind

LEFT, REMOVED, LOST = DepartureReason.LEFT, DepartureReason.REMOVED, DepartureReason.LOST

evidence = st.builds(
    Evidence,
    is_static=st.booleans(),
    left_name=st.booleans(),
    is_member=st.booleans(),
    says_draining=st.booleans(),
    departure=st.none() | st.sampled_from(DepartureReason),
    names_others=st.booleans(),
    up=st.booleans(),
    unnamed_s=st.floats(0, 1e6),
)
boots = st.sampled_from(["", "b1", "b2"])
addresses = st.sampled_from(["10.0.0.1:1", "10.0.0.2:1", "10.0.0.3:1"])
rosters = st.builds(
    Roster,
    members=st.lists(
        st.builds(
            RosterEntry,
            id=st.just("w"),
            kind=st.sampled_from([MemberKind.CPU_WORKER, MemberKind.ROUTER]),
            address=addresses,
            boot=boots,
            draining=st.booleans(),
        ),
        max_size=4,
    ).map(tuple),
    departed=st.lists(
        st.builds(Departure, id=st.just("w"), address=addresses, boot=boots, reason=st.sampled_from(DepartureReason)),
        max_size=4,
    ).map(tuple),
)


def standing(roster: Roster, *, up: bool = True, boot: str = "", name: str = "10.0.0.1:1") -> Standing:
    word = RosterIndex(roster).word_of(names=[name], ever_named=[name], boot=boot)
    return standing_of(
        Evidence(
            is_member=word.is_member,
            says_draining=word.says_draining,
            departure=word.departure,
            names_others=word.names_others,
            up=up,
        )
    )


@given(evidence)
def test_a_worker_is_taken_out_of_service_only_by_a_word_about_it(known: Evidence) -> None:
    said = (
        (known.is_member and known.says_draining)
        or known.departure is LEFT
        or (known.departure is REMOVED and known.names_others)
        or known.left_name
    )
    if standing_of(known) is Standing.LEAVE:
        assert said
    if known.up and not said:
        assert standing_of(known) is Standing.USE


@given(evidence)
def test_a_static_worker_stays_whatever_the_fleet_says(known: Evidence) -> None:
    if known.is_static:
        assert standing_of(known) is Standing.USE


@given(rosters)
def test_a_fleet_that_says_nothing_of_a_worker_or_has_only_lost_it_takes_it_out_of_no_service(roster: Roster) -> None:
    silent = Roster(members=roster.members, departed=tuple(one for one in roster.departed if one.reason is LOST))
    index = RosterIndex(silent)
    word = index.word_of(names=["10.9.9.9:1"], ever_named=["10.9.9.9:1", "10.0.0.1:1"], boot="b9")
    assert not word.says_draining
    assert word.departure in {None, LOST}


@given(rosters)
def test_a_boot_id_decides_whom_a_departure_is_about(roster: Roster) -> None:
    mine = {one.reason for one in roster.departed if one.boot in {"", "b1"}}
    word = RosterIndex(roster).word_of(names=["10.0.0.1:1"], ever_named=["10.0.0.1:1"], boot="b1")
    assert word.departure is None or word.departure in mine


def gone(reason: DepartureReason, *others: str, boot: str = "") -> Roster:
    members = tuple(RosterEntry(id=one, kind=MemberKind.CPU_WORKER, address=f"{one}:1") for one in others)
    return Roster(members=members, departed=(Departure(id="w", address="10.0.0.1:1", boot=boot, reason=reason),))


def test_who_left_by_its_own_word_gets_nothing_even_if_nobody_is_left() -> None:
    assert standing(gone(LEFT)) is standing(gone(LEFT, "a")) is Standing.LEAVE


def test_who_was_removed_gets_nothing_while_there_are_others() -> None:
    assert standing(gone(REMOVED, "a")) is Standing.LEAVE
    assert standing(gone(REMOVED)) is Standing.USE


def test_a_successor_at_the_same_address_has_not_left() -> None:
    assert standing(gone(LEFT, boot="b1"), boot="b2") is Standing.USE
    assert standing(gone(LEFT, boot="b1"), boot="b1") is Standing.LEAVE


def test_a_governor_that_starts_with_an_empty_fleet_takes_nobody_out() -> None:
    assert standing(Roster()) is Standing.USE
    assert standing(Roster(), up=False) is Standing.USE


def test_what_nobody_names_and_nobody_reaches_is_forgotten_after_a_while() -> None:
    assert standing_of(Evidence(up=False, unnamed_s=FORGOTTEN_S - 1)) is Standing.USE
    assert standing_of(Evidence(up=False, unnamed_s=FORGOTTEN_S + 1)) is Standing.FORGET
    assert standing_of(Evidence(up=True, unnamed_s=FORGOTTEN_S + 1)) is Standing.USE
    assert standing_of(Evidence(is_static=True, unnamed_s=FORGOTTEN_S + 1)) is Standing.USE
