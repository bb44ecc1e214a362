"""The governor's settings: section `governor` of the configuration."""

from __future__ import annotations

from pydantic import Field

from sluice.config import Address, Section


class GovernorConfig(Section):
    """Intervals are the same for every member of a fleet."""

    listen: Address = "127.0.0.1:50050"
    """Where members and operators call."""
    report_interval_ms: float = Field(default=500, ge=10, le=60_000)
    """How often members report. One that is silent for three of these is no longer part of the fleet."""
    renew_interval_ms: float = Field(default=500, ge=10, le=60_000)
    """How often the directive is sent again, so that leases do not run out."""
    lease_s: float = Field(default=3, gt=0, le=600)
    """How long a directive binds a member that hears nothing more."""
    drain_timeout_s: float = Field(default=5, ge=0, le=600)
    """How long open calls may take after SIGTERM."""
