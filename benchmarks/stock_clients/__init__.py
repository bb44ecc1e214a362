"""Stock gRPC clients of three languages that send one message at a fixed rate and say how the calls ended.

None of them is ours: what they do with a refusal or a router that stops is what their libraries do.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
GO_LIBRARIES = Path("/usr/share/gocode")
LANGUAGES = ("python", "go", "node")
PROXIES = frozenset({"http_proxy", "https_proxy", "all_proxy", "grpc_proxy"})


class Missing(Exception):
    """A language's tools are not here; the message says which."""


@dataclass(frozen=True)
class Plan:
    """What a client shall do. `targets` are "HOST:PORT"; `config` is a service config as JSON, empty for none."""

    targets: tuple[str, ...]
    method: str
    body: bytes
    rate: float = 1.0
    seconds: float = 1.0
    timeout_s: float = 10.0
    config: str = ""

    def to_json(self) -> str:
        """As the callers read it."""
        return json.dumps(
            {
                "targets": ",".join(self.targets),
                "method": self.method,
                "body": base64.b64encode(self.body).decode(),
                "rate": self.rate,
                "seconds": self.seconds,
                "timeout": self.timeout_s,
                "config": self.config,
            }
        )


@dataclass(frozen=True)
class Ends:
    """How the calls of one client ended: statuses, what failures said, and the longest call in milliseconds."""

    codes: Counter[str]
    said: Counter[str] = field(default_factory=Counter)
    slowest_ms: float = 0.0

    @property
    def calls(self) -> int:
        """How many there were."""
        return self.codes.total()

    @property
    def lost(self) -> int:
        """How many were not answered."""
        return self.calls - self.codes["OK"]


async def call(language: str, plan: Plan) -> Ends:
    """Run the client of `language` to its end. Raises Missing, and RuntimeError when it ends otherwise."""
    command = await asyncio.to_thread(_command, language)
    process = await asyncio.create_subprocess_exec(
        *command,
        plan.to_json(),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=_environ(),
    )
    try:
        out, errors = await process.communicate()
    except BaseException:
        process.kill()
        raise
    if process.returncode != 0:
        raise RuntimeError(f"the client of {language} ended with {process.returncode}: {errors.decode()[-2000:]}")
    found: dict[str, Any] = json.loads(out.decode().splitlines()[-1])
    return Ends(Counter(found["codes"]), Counter(found["said"]), float(found["slowest_ms"]))


def _environ() -> dict[str, str]:
    """The environment without proxies, through which clients would dial several loopback addresses at once."""
    environ = {name: value for name, value in os.environ.items() if name.lower() not in PROXIES}  # noqa: TID251
    # Go's library of that age retries only if it is told to.
    return {**environ, "GRPC_GO_RETRY": "on"}


@cache
def _command(language: str) -> tuple[str, ...]:
    if language == "python":
        return (sys.executable, str(HERE / "caller.py"))
    if language == "node":
        if shutil.which("node") is None or not (ROOT / "node_modules" / "@grpc" / "grpc-js").is_dir():
            raise Missing("node with @grpc/grpc-js is not here; `make lint-protos` installs it where npm is")
        return ("node", str(HERE / "caller.js"))
    if shutil.which("go") is None or not (GO_LIBRARIES / "src" / "google.golang.org" / "grpc").is_dir():
        raise Missing("go with golang-google-grpc-dev is not here")
    return (str(_built()),)


def _built() -> Path:
    """The caller of Go, compiled where that was not done yet."""
    source = HERE / "caller.go"
    binary = ROOT / ".cache" / "stock_clients" / "caller"
    if not binary.exists() or binary.stat().st_mtime < source.stat().st_mtime:
        binary.parent.mkdir(parents=True, exist_ok=True)
        made = binary.with_suffix(f".{os.getpid()}")
        environ = {**os.environ, "GO111MODULE": "off", "GOPATH": str(GO_LIBRARIES), "GOFLAGS": ""}  # noqa: TID251
        subprocess.run(["go", "build", "-o", str(made), str(source)], env=environ, check=True, capture_output=True)
        made.replace(binary)
    return binary
