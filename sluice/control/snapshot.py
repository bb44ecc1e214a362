"""Snapshots of the fleet in messages that every reader takes: cut where they are sent, put together where read.

gRPC clients refuse messages above 4 MiB by default; a fleet of a thousand members with long cards is larger.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, Sequence

from sluice.v1 import degradation_pb2, governor_service_pb2, health_pb2

MESSAGE_BYTES = 3 * 1024 * 1024
"""What a message of a snapshot may take: 4 MiB, less a quarter for what stands around it and what is yet to come."""
MOST_BYTES = 256 * 1024 * 1024
"""The largest fleet that a reader puts together."""
# The tag and the length in front of a field.
_FRAME_BYTES = 8


def split(fleet: health_pb2.Fleet, *, most_bytes: int = MESSAGE_BYTES) -> list[health_pb2.Fleet]:
    """`fleet` itself if it is no longer than `most_bytes`, else its parts in the order in which they are to be sent.

    A member who is longer than that alone is sent without its report. Only what all parts repeat may make them longer.
    """
    if fleet.ByteSize() <= most_bytes:
        return [fleet]
    header = health_pb2.Fleet()
    header.CopyFrom(fleet)
    header.ClearField("members")
    room = most_bytes - header.ByteSize() - 2 * _FRAME_BYTES
    groups: list[list[health_pb2.Member]] = [[]]
    taken = 0
    for whole in fleet.members:
        member = whole if whole.ByteSize() + _FRAME_BYTES <= room else _without_report(whole)
        size = member.ByteSize() + _FRAME_BYTES
        if groups[-1] and taken + size > room:
            groups.append([])
            taken = 0
        groups[-1].append(member)
        taken += size
    return [_part(header, number, len(groups), members) for number, members in enumerate(groups)]


def watch_responses(
    parts: Sequence[health_pb2.Fleet],
    transitions: Sequence[degradation_pb2.Transition],
    *,
    most_bytes: int = MESSAGE_BYTES,
) -> list[governor_service_pb2.WatchFleetResponse]:
    """The messages of one snapshot: the fleet's `parts`, and `transitions` with the last or in parts of their own."""
    response = governor_service_pb2.WatchFleetResponse
    groups: list[list[degradation_pb2.Transition]] = [[]]
    taken = parts[-1].ByteSize() + _FRAME_BYTES
    header_bytes = _header(parts[-1]).ByteSize() + _FRAME_BYTES
    for transition in transitions:
        size = transition.ByteSize() + _FRAME_BYTES
        if taken + size > most_bytes:
            groups.append([])
            taken = header_bytes
        groups[-1].append(transition)
        taken += size
    if len(groups) == 1:
        return [*(response(fleet=one) for one in parts[:-1]), response(fleet=parts[-1], transitions=groups[0])]
    number = len(parts) + len(groups) - 1
    fleets = [_part(_header(one), place, number, one.members) for place, one in enumerate(parts)]
    fleets += [_part(_header(parts[-1]), place, number, ()) for place in range(len(parts), number)]
    with_last = [(), *[()] * (len(parts) - 2), *groups] if len(parts) > 1 else groups
    return [response(fleet=one, transitions=told) for one, told in zip(fleets, with_last, strict=True)]


class SnapshotReader:
    """Puts the parts of a fleet together. What does not go on as it began is given up for what comes now."""

    def __init__(self, *, most_bytes: int = MOST_BYTES) -> None:
        self._most_bytes = most_bytes
        self._whole = health_pb2.Fleet()
        self._next = 0
        self._bytes = 0

    def add(self, message: health_pb2.Fleet) -> health_pb2.Fleet | None:
        """Take the next message; returns the fleet when it is whole. Raises ValueError when it becomes too large."""
        if message.parts <= 1:
            self._next = 0
            return message
        if message.part == 0:
            self._whole, self._bytes = health_pb2.Fleet(), 0
            self._whole.CopyFrom(message)
        elif message.part != self._next or _version(message) != _version(self._whole):
            # Its beginning was not heard; the next snapshot has one.
            self._next = 0
            return None
        else:
            self._whole.members.extend(message.members)
        self._bytes += message.ByteSize()
        if self._bytes > self._most_bytes:
            self._next = 0
            self._whole = health_pb2.Fleet()
            raise ValueError(f"the fleet takes more than {self._most_bytes} bytes")
        self._next = message.part + 1
        if self._next < message.parts:
            return None
        whole, self._whole, self._next = self._whole, health_pb2.Fleet(), 0
        whole.ClearField("parts")
        whole.ClearField("part")
        return whole


async def snapshots(
    responses: AsyncIterable[governor_service_pb2.WatchFleetResponse],
) -> AsyncGenerator[tuple[health_pb2.Fleet, list[degradation_pb2.Transition]], None]:
    """The whole fleets that a call of WatchFleet tells of, each with the transitions that came along."""
    reader = SnapshotReader()
    transitions: list[degradation_pb2.Transition] = []
    async for response in responses:
        transitions.extend(response.transitions)
        fleet = reader.add(response.fleet)
        if fleet is not None:
            yield fleet, transitions
            transitions = []


def _without_report(member: health_pb2.Member) -> health_pb2.Member:
    short = health_pb2.Member()
    short.CopyFrom(member)
    short.ClearField("report")
    return short


def _header(part: health_pb2.Fleet) -> health_pb2.Fleet:
    header = health_pb2.Fleet()
    header.CopyFrom(part)
    header.ClearField("members")
    return header


def _part(header: health_pb2.Fleet, number: int, parts: int, members: Sequence[health_pb2.Member]) -> health_pb2.Fleet:
    part = health_pb2.Fleet()
    part.CopyFrom(header)
    part.members.extend(members)
    part.part, part.parts = number, parts
    return part


def _version(fleet: health_pb2.Fleet) -> tuple[int, int, int]:
    return fleet.epoch, fleet.revision, fleet.parts
