"""An operator's request as a directive, checked against the contract."""

from __future__ import annotations

from sluice.control import bounds
from sluice.control.directive import Directive
from sluice.domain.enums import Level
from sluice.domain.errors import InvalidRequest
from sluice.domain.status import seconds_of
from sluice.precision import Precision
from sluice.v1 import governor_service_pb2 as governor_pb2

LONGEST_S = 86_400.0


def to_override(request: governor_pb2.SetDegradationRequest) -> Directive | None:
    """What the operator wants to hold, or None to clear. Raises InvalidRequest naming the field."""
    _check_reason(request.reason)
    if not request.HasField("degradation"):
        return None
    wanted = request.degradation
    try:
        levels = bounds.levels("degradation.levels", wanted.levels)
    except ValueError as error:
        raise InvalidRequest(str(error), field="degradation.levels") from error
    try:
        precision = Precision(wanted.precision)
    except ValueError as error:
        raise InvalidRequest(str(error), field="degradation.precision") from error
    if precision is not Precision.OWN and Level.LIGHTEN not in levels:
        raise InvalidRequest(
            "a precision is ordered by level LIGHTEN, which is not there", field="degradation.precision"
        )
    duration_s = seconds_of(request.duration)
    if not 0 < duration_s <= LONGEST_S:
        raise InvalidRequest("an override lasts more than nothing and at most a day", field="duration")
    # A level that is in force without a number of its own acts fully; written so that NaN fails the checks.
    shares = {
        "offload_share": wanted.offload_share or (1.0 if Level.OFFLOAD in levels else 0.0),
        "lighten_share": wanted.lighten_share or (1.0 if Level.LIGHTEN in levels and not precision else 0.0),
    }
    for field, value in shares.items():
        if not 0.0 <= value <= 1.0:
            raise InvalidRequest(f"{field} is {value}, and must lie in [0, 1]", field=f"degradation.{field}")
    if Level.ADMIT in levels and not wanted.admit_scale:
        raise InvalidRequest("level ADMIT needs the scale it puts on the limit", field="degradation.admit_scale")
    admit_scale = wanted.admit_scale or 1.0
    if not 0.0 < admit_scale <= 1.0:
        raise InvalidRequest(f"admit_scale is {admit_scale}, and must lie in (0, 1]", field="degradation.admit_scale")
    return Directive(
        epoch=0,
        revision=0,
        levels=levels,
        admit_scale=admit_scale,
        precision=precision,
        reason=f"operator: {request.reason or 'no reason given'}",
        **shares,
    )


def _check_reason(reason: str) -> None:
    try:
        bounds.text("reason", reason, most=bounds.MAX_OPERATOR_REASON_BYTES)
    except ValueError as error:
        raise InvalidRequest(str(error), field="reason") from error
