"""The `sluice` command as users run it: a process of its own, whose ways out are all watched."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import psutil

from sluice.runtime.program import PARENT_VARIABLE

ROOT = Path(__file__).resolve().parents[2]
COMMAND = (sys.executable, "-m", "sluice.cli.main")
TIMEOUT_S = 100.0
Environ = Mapping[str, str]


def environ(**changes: str) -> dict[str, str]:
    """This process's environment without what would configure Sluice, and with `changes`."""
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("SLUICE_")}
    settings = {}
    for worker in ("GPU_WORKER", "CPU_WORKER"):
        # One thread a model: on busy cores several would wait for each other. Nobody looks at batch times here.
        settings |= {f"SLUICE_{worker}_THREADS": "1", f"SLUICE_{worker}_PROFILE_SECONDS": "0"}
    return {**inherited, **settings, "PYTHONPATH": str(ROOT), "COLUMNS": "170", **changes}


def run(*arguments: str, env: Environ | None = None, stdin: bytes = b"") -> subprocess.CompletedProcess[str]:
    """Run a command to its end, from the repository's root."""
    ended = subprocess.run(
        [*COMMAND, *arguments],
        input=stdin,
        capture_output=True,
        env=env or environ(),
        cwd=ROOT,
        timeout=TIMEOUT_S,
        check=False,
    )
    return subprocess.CompletedProcess(ended.args, ended.returncode, ended.stdout.decode(), ended.stderr.decode())


@contextmanager
def sigint_handling(*, ignored: bool) -> Iterator[None]:
    """What is started inside ignores SIGINT, as a script's `command &`, or does not, however the tests were started."""
    former = signal.signal(signal.SIGINT, signal.SIG_IGN if ignored else signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, former)


class Running:
    """A command that runs on. What it says on standard error is read as it comes."""

    def __init__(self, *arguments: str, env: Environ, ignores_sigint: bool = False) -> None:
        with sigint_handling(ignored=ignores_sigint):
            self.process = subprocess.Popen(
                [*COMMAND, *arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=env,
                cwd=ROOT,
            )
        self.errors = ""
        self._changed = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            with self._changed:
                self.errors += line.decode()
                self._changed.notify_all()

    def wait_for(self, words: str) -> None:
        """Return when standard error holds `words`."""
        with self._changed:
            assert self._changed.wait_for(lambda: words in self.errors, TIMEOUT_S), self.errors

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the command alone, as a service manager would."""
        self.process.send_signal(number)

    def ended(self) -> int:
        """Its exit status, once it and everything that it said is there."""
        status = self.process.wait(TIMEOUT_S)
        self._reader.join(TIMEOUT_S)
        return status

    def services(self) -> list[psutil.Process]:
        """The services that it started and that still run, whoever their parent is now."""
        return left_behind(self.process.pid)


@contextmanager
def running(*arguments: str, env: Environ, ignores_sigint: bool = False) -> Iterator[Running]:
    """A command that is killed with all its services when the block ends, if it has not ended by then."""
    command = Running(*arguments, env=env, ignores_sigint=ignores_sigint)
    try:
        yield command
    finally:
        for service in command.services():
            service.kill()
        command.process.kill()
        command.process.wait(TIMEOUT_S)
        command._reader.join(TIMEOUT_S)
        for pipe in (command.process.stdin, command.process.stdout, command.process.stderr):
            if pipe is not None:
                pipe.close()


def left_behind(pid: int) -> list[psutil.Process]:
    """The services that the process `pid` has started and that run."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(PARENT_VARIABLE) == str(pid) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return found


def assert_all_end(services: list[psutil.Process]) -> None:
    """Every one of `services` ends by itself within seconds."""
    _, alive = psutil.wait_procs(services, timeout=20)
    assert alive == []
