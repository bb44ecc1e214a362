"""One service as a child process: started, watched until it is ready, and stopped for certain."""

from __future__ import annotations

import asyncio
import math
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from sluice.runtime.channel import DIRECT
from sluice.runtime.program import PARENT_VARIABLE
from sluice.transport.server import READINESS

POLL_S = 0.05
# A program that starts refuses connections at first; gRPC would then look again after a second at the earliest.
RECONNECT_OFTEN = (("grpc.initial_reconnect_backoff_ms", 50), ("grpc.max_reconnect_backoff_ms", 200))
LAST_LINES = 15
LAST_BYTES = 64 * 1024
# When it is first said what a start waits for, and how often from then on.
FIRST_WORD_S = 3.0
WORD_EVERY_S = 10.0


class ServiceFailed(Exception):
    """A service ended, or did not become ready. The message holds its last log lines."""


class ServiceProcess:
    """`python -m services.NAME`, or another `module` in its place. Its log goes to `log`, a file."""

    def __init__(
        self, name: str, *, address: str, environ: Mapping[str, str], log: Path, module: str | None = None
    ) -> None:
        self.name = name
        self._module = module or f"services.{name}"
        self.address = address
        self.log = log
        self._environ = {**environ, PARENT_VARIABLE: str(os.getpid())}
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The process's id; 0 before it is started."""
        return self._process.pid if self._process else 0

    @property
    def exit_code(self) -> int | None:
        """How it ended; None while it runs or before it is started."""
        return self._process.poll() if self._process else None

    def start(self) -> None:
        """Start it in a group of its own, so that a terminal's Ctrl-C reaches only us and we decide the order."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603  our own module, by our own interpreter
                [sys.executable, "-m", self._module],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self._environ,
                start_new_session=True,
            )

    async def ready(self, timeout_s: float | None, *, on_wait: Callable[[str], object] = lambda _: None) -> None:
        """Return when it takes work; wait at most `timeout_s`, or for as long as it runs if None.

        `on_wait` is told what is waited for, the first time after a few seconds and then less often. Raises
        ServiceFailed when it ends first or is not ready in time.
        """
        now = asyncio.get_running_loop().time
        begun_at, told_at = now(), now() + FIRST_WORD_S - WORD_EVERY_S
        async with grpc.aio.insecure_channel(self.address, options=(*DIRECT, *RECONNECT_OFTEN)) as channel:
            health = health_pb2_grpc.HealthStub(channel)
            while self.exit_code is None and (why_not := await _why_not_serving(health)):
                waited_s = now() - begun_at
                if timeout_s is not None and waited_s > timeout_s:
                    words = f"{self.name} was not ready after {timeout_s:g} s: {why_not}\n{self.last_lines()}"
                    raise ServiceFailed(words)
                if now() - told_at > WORD_EVERY_S:
                    told_at = now()
                    on_wait(f"not ready after {waited_s:.0f} s: {why_not} (its log is {self.log})")
                await asyncio.sleep(POLL_S)
        if self.exit_code is not None:
            raise ServiceFailed(f"{self.name} {describe_exit(self.exit_code)}:\n{self.last_lines()}")

    def signal(self, number: signal.Signals) -> None:
        """Send a signal if it still runs."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(number)

    async def ended(self, timeout_s: float | None) -> bool:
        """Wait for its end, without limit if `timeout_s` is None; whether it came in time."""
        deadline = asyncio.get_running_loop().time() + (math.inf if timeout_s is None else timeout_s)
        while self._process is not None and self._process.poll() is None:
            if asyncio.get_running_loop().time() > deadline:
                return False
            await asyncio.sleep(POLL_S)
        return True

    def last_lines(self) -> str:
        """The end of its log."""
        try:
            with self.log.open("rb") as log:
                log.seek(max(0, self.log.stat().st_size - LAST_BYTES))
                lines = log.read().decode(errors="replace").splitlines()
        except OSError:
            return "(no log)"
        return "\n".join(f"  {line}" for line in lines[-LAST_LINES:])


def describe_exit(code: int | None) -> str:
    """How a process ended, from its exit code as `subprocess` gives it."""
    if code is not None and code < 0:
        try:
            return f"was killed by {signal.Signals(-code).name}"
        except ValueError:
            return f"was killed by signal {-code}"
    return f"ended with status {code}"


async def _why_not_serving(health: health_pb2_grpc.HealthStub) -> str:
    """Empty if it takes work, else what its health check says."""
    try:
        response = await health.Check(health_pb2.HealthCheckRequest(service=READINESS), timeout=1.0)
    except grpc.aio.AioRpcError as error:
        return f"its health check fails with {error.code().name}: {error.details()}"
    if response.status == health_pb2.HealthCheckResponse.SERVING:
        return ""
    return f"its health check says {health_pb2.HealthCheckResponse.ServingStatus.Name(response.status)}"
