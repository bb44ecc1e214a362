"""Who is in the fleet."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from services.governor.membership_table import IdTaken, MembershipTable
from sluice.directive import Directive
from sluice.fleet import Registration, Report
from sluice.tier import MemberKind, Task, Tier
from sluice.variant import Variant, VariantState

VARIANT = Variant(id="m/light-fp32", model="m", tier=Tier.LIGHT, task=Task.TEXT_CLASSIFICATION)
SAID = Directive(epoch=4, revision=2)
REPORT = Report(measured_at=datetime(2026, 1, 1, tzinfo=UTC), variants=(VARIANT,))


def card(name: str = "w", address: str = "127.0.0.1:1", obeyed: Directive | None = None) -> Registration:
    return Registration(id=name, kind=MemberKind.CPU_WORKER, address=address, obeyed=obeyed)


@pytest.fixture
def table() -> MembershipTable:
    """A table whose members are silent after three intervals, which is 1.5 s."""
    return MembershipTable(report_interval_s=0.5)


def test_members_are_ordered_by_id_and_have_not_reported_yet(table: MembershipTable) -> None:
    for name in ("b", "c", "a"):
        table.join(card(name), now=0)
    assert [member.id for member in table.members()] == ["a", "b", "c"]
    assert {member.report for member in table.members()} == {None}


def test_a_live_members_id_is_taken_for_other_addresses(table: MembershipTable) -> None:
    ticket = table.join(card(), now=0)
    with pytest.raises(IdTaken, match=r"127\.0\.0\.1:1"):
        table.join(card(address="127.0.0.1:2"), now=1)
    assert table.holds("w", ticket)
    assert [member.address for member in table.members()] == ["127.0.0.1:1"]


def test_a_silent_members_id_is_free_for_other_addresses_even_before_it_is_dropped(table: MembershipTable) -> None:
    old = table.join(card(), now=0)
    new = table.join(card(address="127.0.0.1:2"), now=1.6)
    assert (table.holds("w", old), table.holds("w", new)) == (False, True)


def test_the_same_address_replaces_its_older_stream_whose_end_is_then_no_departure(table: MembershipTable) -> None:
    old = table.join(card(), now=0)
    new = table.join(card(), now=0.1)
    assert not table.leave("w", old)
    assert table.holds("w", new)
    assert table.leave("w", new)
    assert table.members() == ()
    assert not table.leave("w", new)


def test_who_was_silent_for_three_intervals_is_dropped_and_who_spoke_is_not(table: MembershipTable) -> None:
    for name in ("silent", "reports", "acknowledges"):
        table.join(card(name), now=0)
    table.report("reports", REPORT, SAID, now=1.0)
    table.acknowledge("acknowledges", (1, 1), now=1.0)
    assert table.drop_silent(now=1.5) == []
    assert table.drop_silent(now=1.6) == ["silent"]
    assert [member.id for member in table.members()] == ["acknowledges", "reports"]


def test_a_dropped_member_may_join_again(table: MembershipTable) -> None:
    old = table.join(card(), now=0)
    table.drop_silent(now=10)
    assert not table.holds("w", old)
    assert table.holds("w", table.join(card(), now=10))


def test_reports_and_acks_are_kept_beside_each_other(table: MembershipTable) -> None:
    table.join(card(), now=0)
    table.acknowledge("w", (4, 2), now=0.1)
    table.report("w", REPORT, SAID, now=0.2)
    (member,) = table.members()
    assert (member.report, member.applied) == (REPORT, (4, 2))


def test_a_member_that_comes_back_is_known_to_obey_what_it_says_it_obeys(table: MembershipTable) -> None:
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
def test_the_revision_rises_with_what_routers_assign_by(
    table: MembershipTable, changed: Report, *, rises: bool
) -> None:
    table.join(card(), now=0)
    table.report("w", REPORT, SAID, now=0.1)
    before = table.revision
    table.report("w", changed, SAID, now=0.2)
    assert (table.revision > before) is rises


def test_the_revision_rises_with_every_coming_and_going(table: MembershipTable) -> None:
    seen = [table.revision]
    ticket = table.join(card(), now=0)
    seen.append(table.revision)
    table.leave("w", ticket)
    seen.append(table.revision)
    table.join(card(), now=0)
    seen.append(table.revision)
    table.drop_silent(now=10)
    seen.append(table.revision)
    assert seen == sorted(set(seen))
