"""Between the fleet's nouns and the control plane's messages, both ways. Unknown enum numbers raise ValueError."""

from __future__ import annotations

from datetime import UTC, datetime

from google.protobuf.timestamp_pb2 import Timestamp

from sluice.directive import DEFAULT_LEASE_S, Directive
from sluice.fleet import Fleet, Member, Registration, Report
from sluice.status import duration, seconds_of
from sluice.tier import Level, MemberKind
from sluice.v1 import degradation_pb2, governor_service_pb2, health_pb2
from sluice.variant import from_proto as variant_from_proto
from sluice.variant import to_proto as variant_to_proto


def report_to_proto(report: Report) -> health_pb2.HealthReport:
    """A report's wire form."""
    message = health_pb2.HealthReport(
        measured_at=_timestamp(report.measured_at),
        utilization=report.utilization,
        memory=report.memory,
        hot_queued=report.hot_queued,
        cold_queued=report.cold_queued,
        inflight=report.inflight,
        deadline_miss_ratio=report.deadline_miss_ratio,
        variants=map(variant_to_proto, report.variants),
        draining=report.draining,
        requests_per_second=report.requests_per_second,
    )
    if report.queue_delay_s is not None:
        message.queue_delay.CopyFrom(duration(report.queue_delay_s))
    return message


def report_from_proto(message: health_pb2.HealthReport) -> Report:
    """The report that `message` carries."""
    return Report(
        measured_at=message.measured_at.ToDatetime(UTC),
        utilization=message.utilization if message.HasField("utilization") else None,
        memory=message.memory if message.HasField("memory") else None,
        queue_delay_s=seconds_of(message.queue_delay) if message.HasField("queue_delay") else None,
        hot_queued=message.hot_queued,
        cold_queued=message.cold_queued,
        inflight=message.inflight,
        deadline_miss_ratio=message.deadline_miss_ratio if message.HasField("deadline_miss_ratio") else None,
        variants=tuple(map(variant_from_proto, message.variants)),
        draining=message.draining,
        requests_per_second=message.requests_per_second,
    )


def directive_to_proto(directive: Directive) -> degradation_pb2.Directive:
    """A directive's wire form."""
    return degradation_pb2.Directive(
        epoch=directive.epoch,
        revision=directive.revision,
        degradation=degradation_pb2.Degradation(
            levels=[level.value for level in directive.levels],  # type: ignore[misc]
            offload_share=directive.offload_share,
            lighten_share=directive.lighten_share,
            admit_scale=directive.admit_scale,
        ),
        lease=duration(directive.lease_s),
        reason=directive.reason,
    )


def directive_from_proto(message: degradation_pb2.Directive) -> Directive:
    """The directive that `message` carries."""
    degradation = message.degradation
    return Directive(
        epoch=message.epoch,
        revision=message.revision,
        levels=tuple(sorted({Level(level) for level in degradation.levels})),
        offload_share=degradation.offload_share,
        lighten_share=degradation.lighten_share,
        admit_scale=degradation.admit_scale,
        lease_s=seconds_of(message.lease) if message.HasField("lease") else DEFAULT_LEASE_S,
        reason=message.reason,
    )


def registration_to_proto(registration: Registration) -> governor_service_pb2.Registration:
    """A registration's wire form."""
    message = governor_service_pb2.Registration(
        id=registration.id,
        kind=registration.kind.value,  # type: ignore[arg-type]
        address=registration.address,
    )
    if registration.obeyed is not None:
        message.obeyed.CopyFrom(directive_to_proto(registration.obeyed))
    return message


def registration_from_proto(message: governor_service_pb2.Registration) -> Registration:
    """The registration that `message` carries."""
    return Registration(
        id=message.id,
        kind=MemberKind(message.kind),
        address=message.address,
        obeyed=directive_from_proto(message.obeyed) if message.HasField("obeyed") else None,
    )


def fleet_to_proto(fleet: Fleet) -> health_pb2.Fleet:
    """The fleet's wire form."""
    return health_pb2.Fleet(
        epoch=fleet.epoch,
        revision=fleet.revision,
        members=map(_member_to_proto, fleet.members),
        directive=directive_to_proto(fleet.directive),
    )


def fleet_from_proto(message: health_pb2.Fleet) -> Fleet:
    """The fleet that `message` carries."""
    return Fleet(
        epoch=message.epoch,
        revision=message.revision,
        members=tuple(map(_member_from_proto, message.members)),
        directive=directive_from_proto(message.directive),
    )


def _member_to_proto(member: Member) -> health_pb2.Member:
    message = health_pb2.Member(id=member.id, kind=member.kind.value, address=member.address)  # type: ignore[arg-type]
    if member.report is not None:
        message.report.CopyFrom(report_to_proto(member.report))
    if member.last_heard_at is not None:
        message.last_heard_at.CopyFrom(_timestamp(member.last_heard_at))
    if member.applied is not None:
        message.applied.epoch, message.applied.revision = member.applied
    return message


def _member_from_proto(message: health_pb2.Member) -> Member:
    return Member(
        id=message.id,
        kind=MemberKind(message.kind),
        address=message.address,
        report=report_from_proto(message.report) if message.HasField("report") else None,
        last_heard_at=message.last_heard_at.ToDatetime(UTC) if message.HasField("last_heard_at") else None,
        applied=(message.applied.epoch, message.applied.revision) if message.HasField("applied") else None,
    )


def _timestamp(instant: datetime) -> Timestamp:
    message = Timestamp()
    message.FromDatetime(instant)
    return message
