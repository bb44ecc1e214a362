"""Between directives, signals and transitions and their messages, both ways.

What lies outside the contract's bounds, and unknown levels and precisions, raise ValueError naming the field.
"""

from __future__ import annotations

from datetime import datetime

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from sluice.control import bounds
from sluice.control.degradation.level_state import Degradation
from sluice.control.degradation.signals import Signals
from sluice.control.directive import DEFAULT_LEASE_S, Directive
from sluice.control.fleet import Transition
from sluice.domain.status import duration, seconds_of
from sluice.precision import Precision
from sluice.v1 import degradation_pb2

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


def degradation_to_proto(content: Degradation) -> degradation_pb2.Degradation:
    """Its wire form."""
    return degradation_pb2.Degradation(
        levels=[level.value for level in content.levels],  # type: ignore[misc]
        offload_share=content.offload_share,
        lighten_share=content.lighten_share,
        admit_scale=content.admit_scale,
        precision=content.precision.value,  # type: ignore[arg-type]
    )


def degradation_from_proto(message: degradation_pb2.Degradation) -> Degradation:
    """What `message` puts in force."""
    return Degradation(
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
