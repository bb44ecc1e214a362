"""The governor's settings: section `governor` of the configuration."""

from __future__ import annotations

from pydantic import Field

from sluice.control.degradation.thresholds import DEFAULT_THRESHOLDS, Thresholds
from sluice.control.identity import DEFAULT_MESH, MeshName
from sluice.runtime.config import Address, Section
from sluice.transport.settings import Transport


class GovernorConfig(Section):
    """Intervals are the same for every member of a fleet."""

    listen: Address = "127.0.0.1:50050"
    """Where members and operators call."""
    mesh: MeshName = DEFAULT_MESH
    """The mesh that it directs. Members of other meshes are refused."""
    automatic: bool = True
    """Whether levels come and go by the laws. Off: only an operator changes them."""
    thresholds: Thresholds = DEFAULT_THRESHOLDS
    """Where they come and go."""
    transport: Transport = Transport()
    """What is borne from members and operators, and how it is stopped without losing their calls."""
    journal: str = ""
    """The file in which transitions and the epoch are kept. Empty: in memory only."""
    max_transitions: int = Field(default=10_000, ge=1, le=1_000_000)
    """How many transitions are kept, in memory and in the journal."""
    report_interval_ms: float = Field(default=100, ge=10, le=60_000)
    """How often members report. One that is silent for three of these, and 1.5 s, is no longer part of the fleet."""
    renew_interval_ms: float = Field(default=500, ge=10, le=60_000)
    """How often the directive is sent again, so that leases do not run out."""
    lease_s: float = Field(default=3, gt=0, le=600)
    """How long a directive binds a member that hears nothing more."""
    max_members: int = Field(default=1_024, ge=1)
    """The most members; more are refused."""
    max_card_bytes: int = Field(default=67_108_864, ge=65_536)
    """The most bytes of all members' cards together; a member whose card does not fit is refused. A variant counts for
    1,024 bytes, a label for 64 and its own, a point of a profile for 128. Memory grows by six times as much, and by up
    to 3 MiB for each call that is sent the fleet and does not read it."""
    max_watchers: int = Field(default=64, ge=1)
    """The most calls that watch the fleet; more are refused."""
    drain_timeout_s: float = Field(default=5, ge=0, le=600)
    """How long open calls may take after SIGTERM."""
