"""Who a program is in the fleet: its mesh, the start of its process, its id, and where others reach it."""

from __future__ import annotations

import secrets
import socket
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from sluice.control.fleet import Registration
from sluice.domain.enums import MemberKind
from sluice.runtime.config import also_read_from
from sluice.transport.resolver import ResolveError, Resolver, join_host_port, split_host_port

DEFAULT_MESH = "default"
MESH_VARIABLE = "SLUICE_MESH"
MESH_METADATA = "sluice-mesh"
"""The metadata key in which a router tells a worker its mesh."""
MeshName = Annotated[
    str,
    Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$", json_schema_extra=also_read_from(MESH_VARIABLE)),
]

# Of 16 hexadecimal digits these many stand in an id: enough that two starts at one address do not share it.
_BOOT_DIGITS_IN_ID = 8
_WILDCARDS = frozenset({"0.0.0.0", "::", ""})  # noqa: S104  compared with, not bound
# Addresses of documentation (RFC 5737, RFC 3849): nothing is sent, the system only says by which address it would be.
_ELSEWHERE = ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """A program in its fleet. `boot` is drawn anew at every start of the process."""

    id: str
    kind: MemberKind
    address: str
    boot: str
    mesh: str = DEFAULT_MESH

    @property
    def registration(self) -> Registration:
        """What the governor is told, but for what the member obeys at that moment."""
        return Registration(id=self.id, kind=self.kind, address=self.address, boot=self.boot, mesh=self.mesh)


def new_boot() -> str:
    """A name for this start of the process: 16 hexadecimal digits."""
    return secrets.token_hex(8)


def mesh_named(name: str) -> str:
    """The mesh that a peer belongs to, which says nothing if it is the default one."""
    return name or DEFAULT_MESH


async def identify(
    kind: MemberKind,
    *,
    listen: str,
    advertise: str,
    governor: str,
    id_: str,
    mesh: str,
    resolver: Resolver | None = None,
) -> Identity:
    """Who this process is. Without an id of its own (`id_`) it has one made of its kind, address and boot id.

    Without `advertise` its address is `listen`; where that is all addresses of the machine, the one by which it reaches
    `governor`, so that every container and pod has its own.
    """
    boot = new_boot()
    address = advertise or await _reachable(listen, governor, resolver or Resolver())
    own = f"{kind.name.lower()}@{address}/{boot[:_BOOT_DIGITS_IN_ID]}"
    return Identity(id=id_ or own, kind=kind, address=address, boot=boot, mesh=mesh)


async def _reachable(listen: str, governor: str, resolver: Resolver) -> str:
    host, port = split_host_port(listen)
    if host not in _WILDCARDS:
        return listen
    try:
        found = await resolver.resolve(governor) if governor else ()
    except ResolveError:
        found = ()
    towards = [split_host_port(one)[0] for one in found]
    routes = [(socket.AF_INET6 if ":" in one else socket.AF_INET, one) for one in towards]
    own = next(filter(None, (_source_address(family, to) for family, to in (*routes, *_ELSEWHERE))), "")
    return join_host_port(own or socket.gethostname(), port)


def _source_address(family: socket.AddressFamily, towards: str) -> str:
    """The address by which this machine would send to `towards`; empty if it has no route there."""
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((towards, 9))
            return str(probe.getsockname()[0])
    except OSError:
        return ""
