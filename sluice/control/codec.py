"""Between directives, signals and transitions and their messages, both ways.

What lies outside the contract's bounds, and unknown levels and precisions, raise ValueError naming the field.
"""

from __future__ import annotations

from datetime import datetime

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from sluice.control import bounds
from sluice.control.degradation.level_state import DegradationState
from sluice.control.degradation.report import Report
from sluice.control.degradation.signals import Signals
from sluice.control.directive import DEFAULT_LEASE_S, Directive
from sluice.control.fleet import Departure, DepartureReason, Fleet, Member, Registration, Transition
from sluice.domain.enums import MemberKind, Precision
from sluice.domain.status import duration, seconds_of
from sluice.domain.variant import Variant, variants_from_proto
from sluice.domain.variant import to_proto as variant_to_proto
from sluice.v1 import degradation_pb2, governor_service_pb2, health_pb2, model_pb2

_RATIOS = (
    "utilization",
    "utilization_max",
    "cpu_utilization",
    "memory",
    "cpu_memory",
    "deadline_miss_ratio",
    "refused_ratio",
    "offloaded_utilization",
)


def degradation_to_proto(content: DegradationState) -> degradation_pb2.Degradation:
    """Its wire form."""
    return degradation_pb2.Degradation(
        levels=[level.value for level in content.levels],  # type: ignore[misc]
        offload_share=content.offload_share,
        lighten_share=content.lighten_share,
        admit_scale=content.admit_scale,
        precision=content.precision.value,  # type: ignore[arg-type]
    )


def degradation_from_proto(message: degradation_pb2.Degradation) -> DegradationState:
    """What `message` puts in force."""
    return DegradationState(
        levels=bounds.levels("levels", message.levels),
        offload_share=bounds.ratio("offload_share", message.offload_share),
        lighten_share=bounds.ratio("lighten_share", message.lighten_share),
        admit_scale=bounds.ratio("admit_scale", message.admit_scale),
        precision=bounds.enum("precision", Precision, message.precision),
    )


def directive_to_proto(directive: Directive) -> degradation_pb2.Directive:
    """A directive's wire form."""
    return degradation_pb2.Directive(
        epoch=directive.epoch,
        revision=directive.revision,
        degradation=degradation_to_proto(directive.degradation),
        lease=duration(directive.lease_s),
        reason=directive.reason,
    )


def directive_from_proto(message: degradation_pb2.Directive) -> Directive:
    """The directive that `message` carries."""
    lease_s = seconds_of(message.lease) if message.HasField("lease") else DEFAULT_LEASE_S
    try:
        content = degradation_from_proto(message.degradation)
    except ValueError as error:
        raise bounds.inside("degradation", error) from None
    return Directive(
        epoch=message.epoch,
        revision=message.revision,
        lease_s=bounds.number("lease", lease_s, 0.0, bounds.MAX_LEASE_S, unit=" s"),
        reason=bounds.text("reason", message.reason, most=bounds.MAX_REASON_BYTES),
    ).saying(content)


def signals_to_proto(signals: Signals) -> degradation_pb2.Signals:
    """The wire form of what the laws read."""
    return degradation_pb2.Signals(
        **{name: getattr(signals, name) for name in _RATIOS},
        full_reload_ratio=signals.full_reload_ratio,
        lowering_ratio=signals.lowering_ratio,
        queue_delay=optional_duration(signals.queue_delay_s),
        standing_queue_delay=optional_duration(signals.standing_queue_delay_s),
        median_timeout=optional_duration(signals.median_timeout_s),
    )


def signals_from_proto(message: degradation_pb2.Signals) -> Signals:
    """The signals that `message` carries."""
    return Signals(
        **{name: getattr(message, name) if message.HasField(name) else None for name in _RATIOS},  # type: ignore[arg-type]
        full_reload_ratio=message.full_reload_ratio,
        lowering_ratio=message.lowering_ratio,
        queue_delay_s=seconds_of(message.queue_delay) if message.HasField("queue_delay") else None,
        standing_queue_delay_s=(
            seconds_of(message.standing_queue_delay) if message.HasField("standing_queue_delay") else None
        ),
        median_timeout_s=seconds_of(message.median_timeout) if message.HasField("median_timeout") else None,
    )


def transition_to_proto(transition: Transition) -> degradation_pb2.Transition:
    """A transition's wire form."""
    return degradation_pb2.Transition(
        at=timestamp(transition.at),
        before=[level.value for level in transition.before],  # type: ignore[misc]
        directive=directive_to_proto(transition.directive),
        signals=signals_to_proto(transition.signals),
    )


def transition_from_proto(message: degradation_pb2.Transition) -> Transition:
    """The transition that `message` carries."""
    return Transition(
        at=bounds.instant("at", message.at),
        before=bounds.levels("before", message.before),
        directive=directive_from_proto(message.directive),
        signals=signals_from_proto(message.signals),
    )


def optional_duration(seconds: float | None) -> Duration | None:
    """`seconds` as a message, absent where they are unknown."""
    return None if seconds is None else duration(seconds)


def timestamp(instant: datetime) -> Timestamp:
    """An instant's wire form."""
    message = Timestamp()
    message.FromDatetime(instant)
    return message


# Between the fleet's nouns and the control plane's messages, both ways. Unknown enum numbers raise ValueError.


class VariantCache:
    """The wire forms of cards by the tuple that holds them: most reports repeat the cards of the one before.

    As many are kept as were asked for since the last `sweep`.
    """

    def __init__(self) -> None:
        self._kept: dict[int, tuple[tuple[Variant, ...], list[model_pb2.Variant]]] = {}
        self._used: set[int] = set()

    def to_proto(self, variants: tuple[Variant, ...]) -> list[model_pb2.Variant]:
        """The wire forms of `variants`."""
        key = id(variants)
        kept = self._kept.get(key)
        # The tuple is kept beside them, so that no other can have its id meanwhile.
        if kept is None or kept[0] is not variants:
            kept = self._kept[key] = (variants, list(map(variant_to_proto, variants)))
        self._used.add(key)
        return kept[1]

    def sweep(self) -> None:
        """Forget what was not asked for since the last time."""
        self._kept = {key: kept for key, kept in self._kept.items() if key in self._used}
        self._used.clear()


def report_to_proto(report: Report, cards: VariantCache | None = None) -> health_pb2.HealthReport:
    """A report's wire form."""
    return health_pb2.HealthReport(
        measured_at=timestamp(report.measured_at),
        utilization=report.utilization,
        memory=report.memory,
        hot_queued=report.hot_queued,
        cold_queued=report.cold_queued,
        inflight=report.inflight,
        deadline_miss_ratio=report.deadline_miss_ratio,
        variants=map(variant_to_proto, report.variants) if cards is None else cards.to_proto(report.variants),
        draining=report.draining,
        requests_per_second=report.requests_per_second,
        queue_delay=optional_duration(report.queue_delay_s),
        standing_queue_delay=optional_duration(report.standing_queue_delay_s),
        median_timeout=optional_duration(report.median_timeout_s),
        refused_ratio=report.refused_ratio,
        offloaded_utilization=report.offloaded_utilization,
        full_reload_ratio=report.full_reload_ratio,
        lowering_ratio=report.lowering_ratio,
        swap_trouble=bounds.cut(report.swap_trouble, most=bounds.MAX_TROUBLE_BYTES),
        in_force=None if report.in_force is None else degradation_to_proto(report.in_force),
        applied=_version_to_proto(report.applied),
        decides_alone=report.decides_alone,
    )


def report_from_proto(message: health_pb2.HealthReport) -> Report:
    """The report that `message` carries."""
    return Report(
        measured_at=bounds.instant("measured_at", message.measured_at),
        utilization=_optional(message, "utilization"),
        memory=_optional(message, "memory"),
        queue_delay_s=_optional_seconds(message, "queue_delay"),
        hot_queued=message.hot_queued,
        cold_queued=message.cold_queued,
        inflight=message.inflight,
        deadline_miss_ratio=_optional(message, "deadline_miss_ratio"),
        variants=variants_from_proto(message.variants),
        draining=message.draining,
        requests_per_second=message.requests_per_second,
        standing_queue_delay_s=_optional_seconds(message, "standing_queue_delay"),
        median_timeout_s=_optional_seconds(message, "median_timeout"),
        refused_ratio=_optional(message, "refused_ratio"),
        offloaded_utilization=_optional(message, "offloaded_utilization"),
        full_reload_ratio=_optional(message, "full_reload_ratio"),
        lowering_ratio=_optional(message, "lowering_ratio"),
        swap_trouble=bounds.text("swap_trouble", message.swap_trouble, most=bounds.MAX_TROUBLE_BYTES),
        in_force=_in_force(message) if message.HasField("in_force") else None,
        applied=_version_from_proto(message),
        decides_alone=message.decides_alone,
    )


def registration_to_proto(registration: Registration) -> governor_service_pb2.Registration:
    """A registration's wire form."""
    message = governor_service_pb2.Registration(
        id=registration.id,
        kind=registration.kind.value,  # type: ignore[arg-type]
        address=registration.address,
        directed=registration.is_directed,
        boot=registration.boot,
        mesh=registration.mesh,
    )
    if registration.obeyed is not None:
        message.obeyed.CopyFrom(directive_to_proto(registration.obeyed))
    return message


def registration_from_proto(message: governor_service_pb2.Registration) -> Registration:
    """The registration that `message` carries."""
    try:
        obeyed = directive_from_proto(message.obeyed) if message.HasField("obeyed") else None
    except ValueError as error:
        raise bounds.inside("obeyed", error) from None
    return Registration(
        id=bounds.text("id", message.id, most=bounds.MAX_ID_BYTES),
        kind=bounds.enum("kind", MemberKind, message.kind),
        address=bounds.text("address", message.address, most=bounds.MAX_ADDRESS_BYTES),
        obeyed=obeyed,
        is_directed=message.directed,
        boot=message.boot,
        mesh=message.mesh,
    )


def fleet_to_proto(fleet: Fleet, cards: VariantCache | None = None) -> health_pb2.Fleet:
    """The fleet's wire form, whole. `cards` keeps those of its members for the next time."""
    message = health_pb2.Fleet(
        epoch=fleet.epoch,
        revision=fleet.revision,
        members=(_member_to_proto(member, cards) for member in fleet.members),
        directive=directive_to_proto(fleet.directive),
        signals=signals_to_proto(fleet.signals),
        departed=map(_departure_to_proto, fleet.departed),
    )
    if cards is not None:
        cards.sweep()
    return message


def fleet_from_proto(message: health_pb2.Fleet) -> Fleet:
    """The fleet that `message` carries."""
    bounds.count("members", message.members, most=bounds.MAX_MEMBERS)
    return Fleet(
        epoch=message.epoch,
        revision=message.revision,
        members=tuple(map(_member_from_proto, message.members)),
        directive=directive_from_proto(message.directive),
        signals=signals_from_proto(message.signals),
        departed=tuple(map(departure_from_proto, message.departed)),
    )


def _member_to_proto(member: Member, cards: VariantCache | None) -> health_pb2.Member:
    return health_pb2.Member(
        id=member.id,
        kind=member.kind.value,  # type: ignore[arg-type]
        address=member.address,
        report=None if member.report is None else report_to_proto(member.report, cards),
        last_heard_at=None if member.last_heard_at is None else timestamp(member.last_heard_at),
        applied=_version_to_proto(member.applied),
        unacknowledged=optional_duration(member.unacknowledged_s),
        disobeys=member.disobeys,
        doubted=member.doubted,
        boot=member.boot,
    )


def _member_from_proto(message: health_pb2.Member) -> Member:
    return Member(
        id=bounds.text("id", message.id, most=bounds.MAX_ID_BYTES),
        kind=bounds.enum("kind", MemberKind, message.kind),
        address=bounds.text("address", message.address, most=bounds.MAX_ADDRESS_BYTES),
        report=_report_if_readable(message),
        last_heard_at=bounds.instant("last_heard_at", message.last_heard_at)
        if message.HasField("last_heard_at")
        else None,
        applied=_version_from_proto(message),
        unacknowledged_s=seconds_of(message.unacknowledged) if message.HasField("unacknowledged") else None,
        disobeys=message.disobeys,
        doubted=message.doubted,
        boot=message.boot,
    )


def _departure_to_proto(departure: Departure) -> health_pb2.Departure:
    return health_pb2.Departure(
        id=departure.id,
        address=departure.address,
        boot=departure.boot,
        reason=departure.reason.value,  # type: ignore[arg-type]
    )


def departure_from_proto(message: health_pb2.Departure) -> Departure:
    """The departure that `message` carries. A reason that this release does not know is the one that harms nobody."""
    known = message.reason in {one.value for one in DepartureReason}
    reason = DepartureReason(message.reason) if known else DepartureReason.LOST
    return Departure(id=message.id, address=message.address, boot=message.boot, reason=reason)


def _report_if_readable(message: health_pb2.Member) -> Report | None:
    """What a governor passes on; one member's report that cannot be read costs nobody the rest of the fleet."""
    try:
        return report_from_proto(message.report) if message.HasField("report") else None
    except ValueError:
        return None


def _in_force(message: health_pb2.HealthReport) -> DegradationState:
    try:
        return degradation_from_proto(message.in_force)
    except ValueError as error:
        raise bounds.inside("in_force", error) from None


def _optional(message: health_pb2.HealthReport, field: str) -> float | None:
    return getattr(message, field) if message.HasField(field) else None


def _optional_seconds(message: health_pb2.HealthReport, field: str) -> float | None:
    value: Duration = getattr(message, field)
    return seconds_of(value) if message.HasField(field) else None


def _version_to_proto(version: tuple[int, int] | None) -> degradation_pb2.DirectiveAck | None:
    return None if version is None else degradation_pb2.DirectiveAck(epoch=version[0], revision=version[1])


def _version_from_proto(message: health_pb2.HealthReport | health_pb2.Member) -> tuple[int, int] | None:
    return (message.applied.epoch, message.applied.revision) if message.HasField("applied") else None
