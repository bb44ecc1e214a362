"""The router's settings: section `router` of the configuration."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from services.router.requests.caller import parse_networks
from sluice.control.degradation.thresholds import DEFAULT_THRESHOLDS, Thresholds
from sluice.control.identity import DEFAULT_MESH, MeshName
from sluice.runtime.config import Address, OptionalAddress, Section
from sluice.transport.settings import Transport


def _network(value: str) -> str:
    (network,) = parse_networks([value])
    return str(network)


Network = Annotated[str, AfterValidator(_network)]
"""Addresses in CIDR notation."""


class RouterConfig(Section):
    """Defaults serve a mesh on loopback; the three batching keys carry the mission's names."""

    listen: Address = "127.0.0.1:50051"
    """Where clients call."""
    advertise: OptionalAddress = ""
    """The address that the fleet is told. Empty: `listen`, or this machine's own address if that is a wildcard."""
    id: str = Field(default="", max_length=128)
    """The router's name in the fleet. Empty: made of its kind, its address and its start, so that no two are alike."""
    mesh: MeshName = DEFAULT_MESH
    """The mesh that it belongs to. Workers and governors of other meshes are refused."""
    governor: OptionalAddress = ""
    """The governor; of a name with several addresses, the one that directs. Empty: none; workers are then the static
    ones only."""
    autonomous: bool = True
    """Whether it changes levels by the laws while no governor is heard, from what it sees itself."""
    thresholds: Thresholds = DEFAULT_THRESHOLDS
    """Where levels come and go then: the same as the governor's."""
    transport: Transport = Transport()
    """What is borne from callers, and how it is stopped without losing their calls."""
    workers: tuple[Address, ...] = ()
    """Workers to use whatever the governor knows. Every address of a name is used, and followed within 5 s."""
    worker_redial_max_s: float = Field(default=30, gt=0, le=600)
    """How long a worker that breaks the contract of Execute again and again waits, at most, to be dialled once more."""
    max_batch_size: int = Field(default=128, ge=1, le=4096)
    """The most items in a batch; a worker's or variant's own limit holds if it is lower."""
    batch_timeout_ms: float = Field(default=50, ge=0, le=10_000)
    """How long cold requests may wait behind a running batch for their own to fill."""
    batch_gather_ms: float = Field(default=4, ge=0, le=100)
    """How long a cold request waits for company while two more come in that time and sixteen are open. 0: never."""
    priority_threshold: float = Field(default=0.7, ge=0, le=1)
    """Priorities at or above it are hot."""
    admission: Literal["adaptive", "caps"] = "adaptive"
    """What limits admission: an adaptive limit on queue delay beside the caps below, or the caps alone."""
    queue_target_ms: float = Field(default=0, ge=0, le=60_000)
    """The delay to which an overlong queue is brought back by refusals. 0: the longer of 20 ms and one batch."""
    assignment: Literal["priced", "preference"] = "priced"
    """How a variant is chosen: by deadline, quality and the price of device time, or by query class alone."""
    complexity_model: str = Field(default="", max_length=4096)
    """What judges a text's complexity: a file of coefficients, or "package.module:callable". Empty: the shipped one."""
    default_model: str = ""
    """The model of requests that name none. Empty, or while it does not do what is asked: the only one that does."""
    default_timeout_s: float = Field(default=10, gt=0, le=3600)
    """The time limit of requests that bring none."""
    max_text_bytes: int = Field(default=65_536, ge=1, le=16_777_216)
    """The longest text, in bytes of UTF-8."""
    max_open_requests: int = Field(default=20_000, ge=1)
    """The most requests open at a time; more are refused."""
    max_open_bytes: int = Field(default=268_435_456, ge=1)
    """The most bytes of requests open at a time, of messages and of the texts in them; more are refused."""
    trusted_proxies: tuple[Network, ...] = ()
    """Networks, like 10.0.0.0/8, whose hosts are proxies: their callers are told apart by `forwarded_key`. All other
    callers are told apart by address, IPv6 by /64; each gets a fair share of what its priority gets."""
    forwarded_key: str = Field(default="x-forwarded-for", min_length=1, max_length=64, pattern="^[a-z0-9_.-]+$")
    """The metadata key in which a trusted proxy names its callers: a name, or a list of addresses, the nearest last."""
    endpoint_grace_s: float = Field(default=1, ge=0, le=60)
    """How long an admitted request waits for a worker to come back when the last one for it has gone."""
    max_stream_items: int = Field(default=4_096, ge=1)
    """The most open items of one stream; the router stops reading it until some are answered."""
    max_stream_bytes: int = Field(default=67_108_864, ge=4_194_304)
    """The most bytes of answers that wait for one stream's reader. From a quarter on the router stops reading the
    stream; an answer beyond the whole ends as RESOURCE_EXHAUSTED."""
    drain_timeout_s: float = Field(default=10, ge=0, le=600)
    """How long open requests may take after SIGTERM."""
