"""Which targets are this machine, and so are dialled without the environment's proxy."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluice.runtime.channel import DIRECT, OPTIONS, is_loopback, proxy_options

ports = st.integers(0, 65535)


@given(st.ip_addresses(v=4), ports)
def test_an_ipv4_target_is_local_as_its_address_is(address: ipaddress.IPv4Address, port: int) -> None:
    for target in (f"{address}:{port}", f"ipv4:{address}:{port}", f"dns:///{address}:{port}", str(address)):
        assert is_loopback(target) == address.is_loopback


@given(st.one_of(st.ip_addresses(v=6), st.just(ipaddress.IPv6Address("::1"))), ports)
def test_an_ipv6_target_is_local_as_its_address_is(address: ipaddress.IPv6Address, port: int) -> None:
    for target in (f"[{address}]:{port}", f"ipv6:[{address}]:{port}", f"[{address}]"):
        assert is_loopback(target) == address.is_loopback


@given(st.lists(st.sampled_from(["127.0.0.1", "127.9.9.9", "10.0.0.1"]), min_size=1))
def test_a_list_is_local_only_if_all_of_it_is(hosts: list[str]) -> None:
    target = "ipv4:" + ",".join(f"{host}:1" for host in hosts)
    assert is_loopback(target) == ("10.0.0.1" not in hosts)


@pytest.mark.parametrize("target", ["localhost:1", "LOCALHOST:1", "mesh.localhost:1", "dns:localhost:1"])
def test_localhost_is_local(target: str) -> None:
    assert proxy_options(target) == DIRECT


@pytest.mark.parametrize("target", ["router:50051", "localhost.example:1", "127.0.0.1.example:1", "dns:///router:1"])
def test_what_may_be_another_machine_is_dialled_as_the_environment_says(target: str) -> None:
    assert proxy_options(target) == ()


def test_the_meshs_own_channels_use_no_proxy() -> None:
    assert set(DIRECT) <= set(OPTIONS)
