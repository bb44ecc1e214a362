"""Who is in the fleet."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.governor.members import KEPT_S, MOST, DuplicateMemberId, MemberTable, TooManyMembers
from sluice.control.degradation.report import Report
from sluice.control.directive import Directive
from sluice.control.fleet import DepartureReason, Registration
from sluice.domain.enums import MemberKind, Task, Tier
from sluice.domain.variant import BatchTime, Variant, VariantState, card_bytes

VARIANT = Variant(id="m/light-fp32", model="m", tier=Tier.LIGHT, task=Task.TEXT_CLASSIFICATION)
SAID = Directive(epoch=4, revision=2)
REPORT = Report(measured_at=datetime(2026, 1, 1, tzinfo=UTC), variants=(VARIANT,))


def card(
    name: str = "w", address: str = "127.0.0.1:1", obeyed: Directive | None = None, boot: str = ""
) -> Registration:
    return Registration(id=name, kind=MemberKind.CPU_WORKER, address=address, obeyed=obeyed, boot=boot)


@pytest.fixture
def table() -> MemberTable:
    """A table whose members are silent after three intervals, which is 1.5 s."""
    return MemberTable(report_interval_s=0.5)


def test_members_are_ordered_by_id_and_have_not_reported_yet(table: MemberTable) -> None:
    for name in ("b", "c", "a"):
        table.join(card(name), now=0)
    assert [member.id for member in table.members()] == ["a", "b", "c"]
    assert {member.report for member in table.members()} == {None}


def test_a_live_members_id_is_taken_for_other_addresses(table: MemberTable) -> None:
    ticket = table.join(card(), now=0)
    with pytest.raises(DuplicateMemberId, match=r"127\.0\.0\.1:1"):
        table.join(card(address="127.0.0.1:2"), now=1)
    assert table.holds("w", ticket)
    assert [member.address for member in table.members()] == ["127.0.0.1:1"]


def test_a_silent_members_id_is_free_for_other_addresses_even_before_it_is_dropped(table: MemberTable) -> None:
    old = table.join(card(), now=0)
    new = table.join(card(address="127.0.0.1:2"), now=1.6)
    assert (table.holds("w", old), table.holds("w", new)) == (False, True)


def test_the_same_address_replaces_its_older_stream_whose_end_is_then_no_departure(table: MemberTable) -> None:
    old = table.join(card(), now=0)
    new = table.join(card(), now=0.1)
    assert not table.leave("w", old)
    assert table.holds("w", new)
    assert table.leave("w", new)
    assert table.members() == ()
    assert not table.leave("w", new)


def test_who_was_silent_for_three_intervals_is_dropped_and_who_spoke_is_not(table: MemberTable) -> None:
    for name in ("silent", "reports", "acknowledges"):
        table.join(card(name), now=0)
    table.report("reports", REPORT, SAID, now=1.0)
    table.acknowledge("acknowledges", (1, 1), now=1.0)
    assert table.expire_silent(now=1.5) == []
    assert table.expire_silent(now=1.6) == ["silent"]
    assert [member.id for member in table.members()] == ["acknowledges", "reports"]


def test_a_dropped_member_may_join_again(table: MemberTable) -> None:
    old = table.join(card(), now=0)
    table.expire_silent(now=10)
    assert not table.holds("w", old)
    assert table.holds("w", table.join(card(), now=10))


def test_reports_and_acks_are_kept_beside_each_other(table: MemberTable) -> None:
    table.join(card(), now=0)
    table.acknowledge("w", (4, 2), now=0.1)
    table.report("w", REPORT, SAID, now=0.2)
    (member,) = table.members()
    assert (member.report, member.applied) == (REPORT, (4, 2))


def test_a_member_that_comes_back_is_known_to_obey_what_it_says_it_obeys(table: MemberTable) -> None:
    # It acknowledges what it applies, and what it obeyed before it need not apply again.
    table.join(card(obeyed=Directive(epoch=4, revision=2)), now=0)
    assert table.members()[0].applied == (4, 2)


@pytest.mark.parametrize(
    ("changed", "rises"),
    [
        (REPORT, False),
        (replace(REPORT, utilization=0.9, memory=0.5, hot_queued=7), False),
        (replace(REPORT, draining=True), True),
        (replace(REPORT, variants=()), True),
        (replace(REPORT, variants=(replace(VARIANT, state=VariantState.UNLOADING),)), True),
    ],
    ids=["same", "load", "draining", "gone", "unloading"],
)
def test_the_revision_rises_with_what_routers_assign_by(table: MemberTable, changed: Report, *, rises: bool) -> None:
    table.join(card(), now=0)
    table.report("w", REPORT, SAID, now=0.1)
    before = table.revision
    table.report("w", changed, SAID, now=0.2)
    assert (table.revision > before) is rises


def test_the_revision_rises_with_every_coming_and_going(table: MemberTable) -> None:
    seen = [table.revision]
    ticket = table.join(card(), now=0)
    seen.append(table.revision)
    table.leave("w", ticket)
    seen.append(table.revision)
    table.join(card(), now=0)
    seen.append(table.revision)
    table.expire_silent(now=10)
    seen.append(table.revision)
    assert seen == sorted(set(seen))


@pytest.mark.parametrize(
    ("name", "address"),
    [("w", "127.0.0.1:1"), ("w", "127.0.0.1:2"), ("x", "127.0.0.1:1")],
    ids=["both", "id", "address"],
)
def test_of_two_processes_under_one_id_or_address_the_later_is_refused(
    table: MemberTable, name: str, address: str
) -> None:
    first = table.join(card(boot="a"), now=0)
    with pytest.raises(DuplicateMemberId, match="duplicate id/address"):
        table.join(card(name, address, boot="b"), now=1)
    assert table.holds("w", first)


@pytest.mark.parametrize(("name", "address"), [("w", "127.0.0.1:1"), ("w", "127.0.0.1:2"), ("x", "127.0.0.1:1")])
def test_a_successor_takes_the_place_of_a_process_that_is_known_to_be_gone(
    table: MemberTable, name: str, address: str
) -> None:
    first = table.join(card(boot="a"), now=0)
    second = table.join(card(name, address, boot="b"), now=1, succeeds=frozenset({first}))
    assert not table.holds("w", first)
    assert [(one.id, one.address, one.boot) for one in table.members()] == [(name, address, "b")]
    assert not table.leave("w", first)
    assert table.holds(name, second)


def test_a_process_that_dials_again_replaces_its_own_older_stream(table: MemberTable) -> None:
    first = table.join(card(boot="a"), now=0)
    again = table.join(card(boot="a"), now=0.1)
    assert (table.holds("w", first), table.holds("w", again)) == (False, True)
    # It has another address now, which happens to a laptop.
    moved = table.join(card(address="127.0.0.1:2", boot="a"), now=0.2)
    assert table.holds("w", moved)


def departed(table: MemberTable, now: float = 1) -> dict[str, DepartureReason]:
    return {one.address: one.reason for one in table.departed(now=now)}


def test_why_a_member_went_is_told_until_it_reports_again(table: MemberTable) -> None:
    for number, reason in enumerate(DepartureReason):
        ticket = table.join(card(f"w{number}", f"10.0.0.1:{number}"), now=0)
        table.leave(f"w{number}", ticket, reason=reason)
    assert departed(table) == {f"10.0.0.1:{number}": reason for number, reason in enumerate(DepartureReason)}
    table.join(card("w1", "10.0.0.1:1"), now=2)
    # It may be refused for its first report as it was before.
    assert "10.0.0.1:1" in departed(table)
    table.report("w1", REPORT, SAID, now=2)
    assert departed(table).keys() == {"10.0.0.1:0", "10.0.0.1:2"}


def test_who_said_that_it_drains_has_left_by_its_own_word_however_its_stream_ends(table: MemberTable) -> None:
    for name in ("breaks", "silent"):
        ticket = table.join(card(name, f"{name}:1"), now=0)
        table.report(name, replace(REPORT, draining=True), SAID, now=0.1)
        if name == "breaks":
            table.leave(name, ticket)
    table.expire_silent(now=10)
    assert departed(table) == {"breaks:1": DepartureReason.LEFT, "silent:1": DepartureReason.LEFT}


def test_who_falls_silent_is_only_lost(table: MemberTable) -> None:
    table.join(card(), now=0)
    table.expire_silent(now=10)
    assert departed(table) == {"127.0.0.1:1": DepartureReason.LOST}


def test_the_address_that_an_id_had_before_is_no_longer_in_use(table: MemberTable) -> None:
    table.join(card(), now=0)
    table.join(card(address="127.0.0.1:2"), now=10)
    assert departed(table, now=10) == {"127.0.0.1:1": DepartureReason.REMOVED}


def test_departures_are_bounded_in_number_and_age(table: MemberTable) -> None:
    for number in range(MOST + 5):
        ticket = table.join(card(f"w{number}", f"10.0.0.1:{number}"), now=number)
        table.leave(f"w{number}", ticket)
    told = table.departed(now=MOST)
    assert len(told) <= MOST
    assert {one.id for one in told} == {f"w{number}" for number in range(MOST + 5) if number >= MOST - KEPT_S}
    assert table.departed(now=10 * MOST) == ()


def reporting(labels: int, points: int) -> Report:
    point = BatchTime(items=1, tokens=64, time_s=0.01, deviation_s=0.0)
    variant = replace(VARIANT, labels=tuple(f"label {number}" for number in range(labels)), profile=(point,) * points)
    return replace(REPORT, variants=(variant,))


steps = st.tuples(st.sampled_from("abcde"), st.none() | st.tuples(st.integers(0, 300), st.integers(0, 100)))


@given(st.lists(steps, max_size=60))
def test_all_cards_stay_within_their_bound_and_who_leaves_makes_room(
    taken: list[tuple[str, tuple[int, int] | None]],
) -> None:
    table, most = MemberTable(report_interval_s=0.5, max_card_bytes=40_000), 40_000
    tickets: dict[str, int] = {}
    for name, said in taken:
        if said is None:
            if name in tickets:
                table.leave(name, tickets.pop(name))
            continue
        if name not in tickets:
            tickets[name] = table.join(card(name, address=f"{name}:1"), now=0)
        held = {one.id: one.report for one in table.members()}
        report = reporting(*said)
        others = sum(card_bytes(one.variants) for other, one in held.items() if one is not None and other != name)
        if others + card_bytes(report.variants) <= most:
            table.report(name, report, SAID, now=0)
        else:
            with pytest.raises(TooManyMembers, match=f"'{name}'.* max_card_bytes is 40000"):
                table.report(name, report, SAID, now=0)
            assert {one.id: one.report for one in table.members()} == held
    kept = [one.report.variants for one in table.members() if one.report is not None]
    assert sum(map(card_bytes, kept)) <= most
