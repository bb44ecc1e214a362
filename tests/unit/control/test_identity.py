"""Who a process is in its fleet."""

from __future__ import annotations

import pytest
from pydantic import TypeAdapter, ValidationError

from services.governor.config import GovernorConfig
from services.gpu_worker.config import GpuWorkerConfig
from services.router.config import RouterConfig
from sluice.control.identity import DEFAULT_MESH, Identity, MeshName, identify, mesh_named
from sluice.domain.enums import MemberKind
from sluice.runtime.config import Section, load
from sluice.transport.resolver import Resolver, split_host_port
from sluice.worker.config import WorkerConfig


async def who(listen: str = "127.0.0.1:5", advertise: str = "", governor: str = "", id_: str = "") -> Identity:
    resolver = Resolver(lambda _host, _port: ["127.0.0.1"])
    return await identify(
        MemberKind.CPU_WORKER,
        listen=listen,
        advertise=advertise,
        governor=governor,
        id_=id_,
        mesh="blue",
        resolver=resolver,
    )


async def test_two_starts_at_one_address_have_different_ids() -> None:
    first, second = await who(), await who()
    assert first.id.startswith("cpu_worker@127.0.0.1:5/")
    assert first.id != second.id
    assert first.boot != second.boot
    assert (await who(id_="mine")).id == "mine"


@pytest.mark.parametrize(
    ("listen", "advertise", "address"),
    [
        ("127.0.0.1:5", "", "127.0.0.1:5"),
        ("0.0.0.0:5", "me:6", "me:6"),
        # The address by which the governor is reached.
        ("0.0.0.0:5", "", "127.0.0.1:5"),
        ("[::]:5", "", "127.0.0.1:5"),
    ],
)
async def test_a_member_advertises_an_address_that_others_can_dial(listen: str, advertise: str, address: str) -> None:
    assert (await who(listen, advertise, governor="governor:1")).address == address


async def test_a_wildcard_without_a_governor_is_never_advertised() -> None:
    host, port = split_host_port((await who("0.0.0.0:5")).address)
    assert host not in {"0.0.0.0", "::", ""}
    assert port == 5


async def test_a_registration_says_all_of_it() -> None:
    identity = await who()
    told = identity.registration
    assert (told.id, told.address, told.boot, told.mesh) == (identity.id, identity.address, identity.boot, "blue")


@pytest.mark.parametrize(
    ("section", "kind"),
    [
        ("governor", GovernorConfig),
        ("router", RouterConfig),
        ("gpu_worker", GpuWorkerConfig),
        ("cpu_worker", WorkerConfig),
    ],
)
def test_one_variable_names_the_mesh_of_all_programs(section: str, kind: type[Section]) -> None:
    environ = {"SLUICE_MESH": "blue"}
    assert load(section, kind, file={}, environ={}).mesh == DEFAULT_MESH  # type: ignore[attr-defined]
    assert load(section, kind, file={}, environ=environ).mesh == "blue"  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", ["", "-a", "a b", "ä", "a" * 129])
def test_a_name_that_cannot_stand_in_metadata_is_refused(name: str) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(MeshName).validate_python(name)


def test_a_peer_that_says_nothing_belongs_to_the_default_mesh() -> None:
    assert mesh_named("") == DEFAULT_MESH
    assert mesh_named("blue") == "blue"
