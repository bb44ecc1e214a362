"""A container's health check: python -m sluice.transport.health_probe HOST:PORT [liveness|readiness]

Ends with status 0 when the program there says that it serves, else with 1 and one line that says why.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from sluice.runtime.channel import DIRECT

TIMEOUT_S = 3.0


def main(arguments: Sequence[str]) -> int:
    """Ask once; returns the exit status."""
    if not 1 <= len(arguments) <= 2:
        print(__doc__, file=sys.stderr)
        return 2
    address = arguments[0]
    service = arguments[1] if len(arguments) == 2 else "readiness"
    with grpc.insecure_channel(address, options=DIRECT) as channel:
        try:
            request = health_pb2.HealthCheckRequest(service=service)
            response = health_pb2_grpc.HealthStub(channel).Check(request, timeout=TIMEOUT_S)
        except grpc.RpcError as error:
            print(f"{address}: {error.code().name}: {error.details()}", file=sys.stderr)
            return 1
    status = health_pb2.HealthCheckResponse.ServingStatus.Name(response.status)
    if status == "SERVING":
        return 0
    print(f"{address}: {service} is {status}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
