"""`sluice degrade`: the operator's hand on the three levels and the precision of full models, for a limited time."""

from __future__ import annotations

import argparse
import os
import sys

import grpc

from sluice.cli import arguments
from sluice.cli.addresses import configured
from sluice.control.codec import degradation_to_proto, directive_from_proto
from sluice.control.degradation.level_state import DegradationState
from sluice.domain.enums import Level, Precision
from sluice.domain.status import duration
from sluice.runtime.channel import proxy_options
from sluice.runtime.config import ConfigError
from sluice.v1 import degradation_pb2
from sluice.v1 import governor_service_pb2 as governor_pb2
from sluice.v1 import governor_service_pb2_grpc as governor_grpc

LEVELS = {level.name.lower(): level for level in Level}
PRECISIONS = {one.label: one for one in Precision if one is not Precision.OWN}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the command's arguments."""
    parser.add_argument("--governor", help="the governor's address (default: governor.listen of the configuration)")
    parser.add_argument(
        "--level", action="append", choices=LEVELS, default=[], help="a level to put in force; may be repeated"
    )
    parser.add_argument(
        "--precision",
        choices=PRECISIONS,
        help="hold full models in it, which is the first step of level lighten; those with a precision of their own "
        "keep it",
    )
    parser.add_argument("--clear", action="store_true", help="end the override")
    parser.add_argument("--share", type=arguments.part, default=1.0, help="of the work it concerns (default: 1)")
    parser.add_argument("--admit", type=arguments.part, default=0.5, help="times the admission limit (default: 0.5)")
    parser.add_argument("--seconds", type=arguments.seconds, default=60.0, help="how long (default: %(default)s)")
    parser.add_argument("--reason", default="", help="why, for the log")


def run(options: argparse.Namespace) -> int:
    """Set or clear the override; prints the directive in force. Returns 1 when the governor refuses or is away.

    Raises ConfigError when nothing, or both of it, is asked for.
    """
    if options.clear == bool(options.level or options.precision):
        raise ConfigError("say what shall hold, by --level or --precision, or --clear")
    governor = options.governor or configured("governor", os.environ)  # noqa: TID251  a composition root
    request = governor_pb2.SetDegradationRequest(reason=options.reason)
    if not options.clear:
        request.degradation.CopyFrom(_wanted(options))
        request.duration.CopyFrom(duration(options.seconds))
    with grpc.insecure_channel(governor, options=proxy_options(governor)) as channel:
        try:
            response = governor_grpc.GovernorServiceStub(channel).SetDegradation(request, timeout=5.0)
        except grpc.RpcError as error:
            print(f"{error.code().name}: {error.details()}", file=sys.stderr)
            if error.code() is grpc.StatusCode.UNAVAILABLE:
                print(f"Is a mesh up, with its governor at {governor}? Start one with: sluice up", file=sys.stderr)
            return 1
    directive = directive_from_proto(response.directive)
    print(f"{directive.degradation}  (revision {directive.revision}: {directive.reason})")
    return 0


def _wanted(options: argparse.Namespace) -> degradation_pb2.Degradation:
    named = {LEVELS[name] for name in options.level}
    ordered = PRECISIONS.get(options.precision, Precision.OWN)
    levels = named | {Level.LIGHTEN} if ordered else named
    content = DegradationState(
        levels=tuple(sorted(levels)),
        offload_share=options.share if Level.OFFLOAD in named else 0.0,
        # Who names the level means the copies; who only names a precision means none of them.
        lighten_share=options.share if Level.LIGHTEN in named else 0.0,
        admit_scale=options.admit if Level.ADMIT in named else 1.0,
        precision=ordered,
    )
    return degradation_to_proto(content)
