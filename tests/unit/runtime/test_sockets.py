"""The sockets behind a server, which gRPC shows nobody. Should these fail, a stop loses calls again."""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from sluice.transport import sockets

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="found by /proc")


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as one:
        yield one


def port_of(one: socket.socket) -> int:
    port: int = one.getsockname()[1]
    return port


def test_a_listener_is_shut_and_what_is_connected_lives_on(listener: socket.socket) -> None:
    port = port_of(listener)
    with socket.create_connection(("127.0.0.1", port)) as caller:
        answering, _ = listener.accept()
        assert sockets.close_listeners(port) == 1
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port))
        with answering:
            caller.sendall(b"still here")
            assert answering.recv(10) == b"still here"
            # A successor may have the port already.
            with socket.create_server(("127.0.0.1", port)) as successor:
                assert port_of(successor) == port


def test_who_is_connected_is_known_and_who_has_been_silent(listener: socket.socket) -> None:
    port = port_of(listener)
    assert sockets.connections(port) == {}
    with socket.create_connection(("127.0.0.1", port)) as caller:
        answering, _ = listener.accept()
        with answering:
            caller.sendall(b"x")
            assert answering.recv(1) == b"x"
            ((peer, silent_s),) = sockets.connections(port).items()
            assert peer == ("127.0.0.1", port_of(caller))
            assert 0.0 <= silent_s < 60.0
            assert sockets.peer_of(f"ipv4:127.0.0.1:{port_of(caller)}") == peer


def test_a_caller_gets_what_was_sent_before_the_end(listener: socket.socket) -> None:
    port = port_of(listener)
    with socket.create_connection(("127.0.0.1", port)) as caller:
        answering, _ = listener.accept()
        with answering:
            answering.sendall(b"the answer")
            assert sockets.hang_up(port) == 1
            assert caller.recv(100) == b"the answer"
            assert caller.recv(100) == b""


def test_looking_leaves_no_descriptor_open(listener: socket.socket) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(50):
        sockets.connections(port_of(listener))
    assert len(list(Path("/proc/self/fd").iterdir())) == before


@pytest.mark.parametrize(
    ("name", "peer"),
    [
        ("ipv4:10.0.0.1:5000", ("10.0.0.1", 5000)),
        ("ipv6:%5B::1%5D:5000", ("::1", 5000)),
        ("ipv6:[::ffff:10.0.0.1]:5000", ("10.0.0.1", 5000)),
        ("ipv6:%5Bfe80::1%25eth0%5D:5000", ("fe80::1", 5000)),
        ("unix:/tmp/socket", None),
        ("unix:", None),
    ],
)
def test_a_peer_is_named_as_its_socket_is(name: str, peer: sockets.Peer | None) -> None:
    assert sockets.peer_of(name) == peer
