"""Where the services of this machine are: by configuration, on free ports, and whether an address is taken."""

from __future__ import annotations

import errno
import socket
from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any

from sluice.runtime.config import ConfigError, read_file, string_from_variable, variable_of
from sluice.transport.bind_check import bind_error

DEFAULT_LISTEN = {
    "governor": "127.0.0.1:50050",
    "router": "127.0.0.1:50051",
    "gpu_worker": "127.0.0.1:50061",
    "cpu_worker": "127.0.0.1:50062",
}
_ANY_HOST = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]"}  # noqa: S104  compared with, not bound


def listen_of(service: str, file: Mapping[str, Any], environ: Mapping[str, str]) -> str:
    """The address at which `service` listens, "HOST:PORT": the environment's, else the file's, else the default."""
    section = file.get(service) or {}
    if not isinstance(section, Mapping):
        raise ConfigError(f"{service}: must be a mapping of keys")
    named = string_from_variable(environ.get(variable_of(service, "listen"), ""))
    return named or str(section.get("listen", DEFAULT_LISTEN[service]))


def configured(service: str, environ: Mapping[str, str]) -> str:
    """The address at which this machine's `service` is called. Raises ConfigError when the file cannot be read."""
    host, _, port = listen_of(service, read_file(environ), environ).rpartition(":")
    return f"{_ANY_HOST.get(host, host)}:{port}"


def choose_ports(count: int) -> list[int]:
    """So many different ports of loopback that nobody uses at this moment."""
    with ExitStack() as held:
        probes = [held.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in probes]


def free_port() -> int:
    """A port of loopback that nobody uses at this moment."""
    return choose_ports(1)[0]


def is_taken(address: str) -> bool:
    """Whether another program listens at `address`. What is no address here is not taken: its service will say so."""
    try:
        error = bind_error(address)
    except ValueError:
        return False
    return error is not None and error.errno == errno.EADDRINUSE
