"""`sluice degrade`: the operator's hand on the three levels, for a limited time."""

from __future__ import annotations

import argparse
import os
import sys

import grpc

from sluice.cli import arguments
from sluice.cli.addresses import configured
from sluice.directive_wire import directive_from_proto
from sluice.status import duration
from sluice.tier import Level
from sluice.v1 import degradation_pb2
from sluice.v1 import governor_service_pb2 as governor_pb2
from sluice.v1 import governor_service_pb2_grpc as governor_grpc

LEVELS = {level.name.lower(): level for level in Level}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the command's arguments."""
    parser.add_argument("--governor", help="the governor's address (default: governor.listen of the configuration)")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--level", action="append", choices=LEVELS, help="a level to put in force; may be repeated")
    what.add_argument("--clear", action="store_true", help="end the override")
    parser.add_argument("--share", type=arguments.part, default=1.0, help="of the work it concerns (default: 1)")
    parser.add_argument("--admit", type=arguments.part, default=0.5, help="times the admission limit (default: 0.5)")
    parser.add_argument("--seconds", type=arguments.seconds, default=60.0, help="how long (default: %(default)s)")
    parser.add_argument("--reason", default="", help="why, for the log")


def run(options: argparse.Namespace) -> int:
    """Set or clear the override; prints the directive in force. Returns 1 when the governor refuses or is away."""
    governor = options.governor or configured("governor", os.environ)  # noqa: TID251  a composition root
    request = governor_pb2.SetDegradationRequest(reason=options.reason)
    if not options.clear:
        levels = sorted({LEVELS[name] for name in options.level})
        wanted = degradation_pb2.Degradation(
            levels=[level.value for level in levels],  # type: ignore[misc]
            offload_share=options.share if Level.OFFLOAD in levels else 0.0,
            lighten_share=options.share if Level.LIGHTEN in levels else 0.0,
            admit_scale=options.admit if Level.ADMIT in levels else 1.0,
        )
        request.degradation.CopyFrom(wanted)
        request.duration.CopyFrom(duration(options.seconds))
    with grpc.insecure_channel(governor) as channel:
        try:
            response = governor_grpc.GovernorServiceStub(channel).SetDegradation(request, timeout=5.0)
        except grpc.RpcError as error:
            print(f"{error.code().name}: {error.details()}", file=sys.stderr)
            if error.code() is grpc.StatusCode.UNAVAILABLE:
                print(f"Is a mesh up, with its governor at {governor}? Start one with: sluice up", file=sys.stderr)
            return 1
    directive = directive_from_proto(response.directive)
    names = ", ".join(level.name.lower() for level in directive.levels) or "full service"
    print(f"{names}  (revision {directive.revision}: {directive.reason})")
    return 0
