"""Snapshots cut into messages and put together again."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluice.control.snapshot import MESSAGE_BYTES, SnapshotReader, snapshots, split, watch_responses
from sluice.v1 import degradation_pb2, governor_service_pb2, health_pb2

LIMIT = 4_000


def fleet(sizes: list[int], *, revision: int = 1) -> health_pb2.Fleet:
    """A fleet whose members' reports take about as many bytes as `sizes` say."""
    made = health_pb2.Fleet(epoch=7, revision=revision, directive={"epoch": 7, "revision": 2})
    for number, size in enumerate(sizes):
        made.members.add(id=f"w{number:04}", address=f"10.0.0.1:{number}").report.swap_trouble = "x" * size
    made.departed.add(id="gone", address="10.0.0.2:1", reason=1)  # type: ignore[arg-type]
    return made


def transitions(count: int) -> list[degradation_pb2.Transition]:
    return [degradation_pb2.Transition(directive={"reason": f"{number:0200}"}) for number in range(count)]


@given(st.lists(st.integers(0, 3_000), max_size=30))
def test_no_part_is_longer_than_a_message_and_all_together_are_the_fleet(sizes: list[int]) -> None:
    whole = fleet(sizes)
    parts = split(whole, most_bytes=LIMIT)
    assert max(part.ByteSize() for part in parts) <= LIMIT
    reader = SnapshotReader()
    read = [reader.add(health_pb2.Fleet.FromString(part.SerializeToString())) for part in parts]
    assert read[:-1] == [None] * (len(parts) - 1)
    assert read[-1] == whole


@given(st.lists(st.integers(0, 3_000), max_size=30), st.integers(0, 60))
async def test_history_comes_with_the_fleet_however_long_both_are(sizes: list[int], count: int) -> None:
    whole, told = fleet(sizes), transitions(count)
    responses = watch_responses(split(whole, most_bytes=LIMIT), told, most_bytes=LIMIT)
    assert max(one.ByteSize() for one in responses) <= LIMIT + 16

    async def heard():  # type: ignore[no-untyped-def]
        for response in responses:
            yield governor_service_pb2.WatchFleetResponse.FromString(response.SerializeToString())

    assert [snapshot async for snapshot in snapshots(heard())] == [(whole, told)]


def test_a_fleet_that_fits_is_one_message_as_in_releases_that_know_no_parts() -> None:
    whole = fleet([100] * 10)
    assert split(whole) == [whole]
    assert (whole.parts, whole.part) == (0, 0)
    assert len(watch_responses([whole], transitions(5))) == 1


def test_a_member_that_fits_into_no_message_is_told_of_without_its_report() -> None:
    parts = split(fleet([10, MESSAGE_BYTES + 1, 10]))
    members = [member for part in parts for member in part.members]
    assert [member.id for member in members] == ["w0000", "w0001", "w0002"]
    assert [member.HasField("report") for member in members] == [True, False, True]


@given(st.data())
def test_whatever_is_lost_repeated_or_late_no_fleet_is_mixed_of_two(data: st.DataObject) -> None:
    known = {revision: fleet([900] * (5 + revision), revision=revision) for revision in range(4)}
    sent = [part for whole in known.values() for part in split(whole, most_bytes=LIMIT)]
    reader = SnapshotReader()
    for place in data.draw(st.lists(st.integers(0, len(sent) - 1), max_size=40)):
        read = reader.add(sent[place])
        assert read is None or read == known[read.revision]
    for part in sent:
        read = reader.add(part)
    assert read == known[3]


def test_a_fleet_without_end_is_given_up() -> None:
    reader = SnapshotReader(most_bytes=3 * LIMIT)
    sent = split(fleet([2_000] * 20), most_bytes=LIMIT)
    with pytest.raises(ValueError, match="bytes"):
        list(map(reader.add, sent))
    assert reader.add(fleet([10])) == fleet([10])
