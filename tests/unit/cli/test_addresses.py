"""Addresses of this machine's services: whose word counts, and what is taken."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from sluice.cli.addresses import choose_ports, configured, is_taken, listen_of
from sluice.runtime.config import ConfigError

FILE = {"router": {"listen": "127.0.0.1:7001"}, "governor": None}


def test_the_environment_counts_before_the_file_and_the_file_before_the_default() -> None:
    assert listen_of("router", FILE, {"SLUICE_ROUTER_LISTEN": "127.0.0.1:7002"}) == "127.0.0.1:7002"
    assert listen_of("router", FILE, {}) == "127.0.0.1:7001"
    assert listen_of("governor", FILE, {}) == "127.0.0.1:50050"
    assert listen_of("cpu_worker", {}, {}) == "127.0.0.1:50062"


@pytest.mark.parametrize(
    ("listen", "called"),
    [("0.0.0.0:7001", "127.0.0.1:7001"), ("'[::]:7001'", "[::1]:7001"), ("10.0.0.7:7001", "10.0.0.7:7001")],
)
def test_a_service_that_listens_everywhere_is_called_on_loopback(tmp_path: Path, listen: str, called: str) -> None:
    file = tmp_path / "sluice.yaml"
    file.write_text(f"router: {{listen: {listen}}}")
    assert configured("router", {"SLUICE_CONFIG": str(file)}) == called


def test_a_section_that_is_none_is_refused_by_name() -> None:
    with pytest.raises(ConfigError, match="router: must be a mapping of keys"):
        listen_of("router", {"router": ["listen"]}, {})


def test_ports_that_are_chosen_together_differ_and_are_free() -> None:
    ports = choose_ports(50)
    assert len(set(ports)) == 50
    assert not any(is_taken(f"127.0.0.1:{port}") for port in ports)


def test_an_address_is_taken_while_somebody_listens_there() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert is_taken(f"127.0.0.1:{port}")
        assert is_taken(f"0.0.0.0:{port}")
        assert is_taken(f"localhost:{port}")
        with socket.create_connection(("127.0.0.1", port)) as caller:
            server.accept()[0].close()
            caller.recv(1)
    # The connection lingers, and a new server may listen all the same.
    assert not is_taken(f"127.0.0.1:{port}")


@pytest.mark.parametrize("address", ["nonsense", "127.0.0.1:port", "no-such-host.invalid:80", "127.0.0.1:99999"])
def test_what_is_no_address_is_not_taken(address: str) -> None:
    assert not is_taken(address)
