"""What `sluice load` can be told, and the plan that it comes to."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sluice.cli import arguments
from sluice.domain.enums import QueryClass, Tier
from sluice.load.arrivals import ARRIVALS_GRAMMAR, variation
from sluice.load.plan import Plan
from sluice.load.policy import Policy
from sluice.load.rate import RATE_GRAMMAR, SPIKE_GRAMMAR, parse_rate, parse_spike
from sluice.load.retry import RetryLaw
from sluice.load.text import read_texts
from sluice.load.trace import read_trace

CLASSES = {one.label: one for one in QueryClass if one} | {"inferred": QueryClass.UNSPECIFIED}
TIERS = {tier.label: tier for tier in Tier if tier}
# A little beyond a trace's last request, so that it is part of the run.
AFTER_TRACE_S = 0.001


def add_shape(group: argparse._ArgumentGroup) -> None:
    """When requests come."""
    group.add_argument("--rate", type=_read(parse_rate), default="100", help=f"a second: {RATE_GRAMMAR} (default: 100)")
    group.add_argument("--spike", type=_read(parse_spike), action="append", default=[], help=SPIKE_GRAMMAR)
    group.add_argument("--arrivals", type=_arrivals, default="poisson", help=f"{ARRIVALS_GRAMMAR} (default: poisson)")
    group.add_argument("--trace", type=Path, help="replay recorded requests, .jsonl or .csv with at_s in seconds")
    group.add_argument("--duration", type=arguments.seconds, help="seconds (default: 30, or the trace's)")
    group.add_argument("--seed", type=int, default=1, help="of everything that is drawn (default: 1)")
    group.add_argument(
        "--conversations", type=_turns, metavar="A-B", help="let A to B requests follow each other's answers"
    )
    group.add_argument("--think", type=arguments.pause, default=0.5, help="mean seconds between turns (default: 0.5)")


def add_mix(group: argparse._ArgumentGroup) -> None:
    """What is asked, and how long for."""
    group.add_argument("--texts", type=Path, default=Path("examples/requests.jsonl"), help="(default: %(default)s)")
    group.add_argument("--model", default="", help="the model's name (default: the router's)")
    group.add_argument("--hot", type=arguments.share, default=0.2, help="share of priority 0.7 or more (default: 0.2)")
    group.add_argument(
        "--class",
        dest="classes",
        type=_classes,
        default={},
        metavar="NAME=WEIGHT,...",
        help=f"of {', '.join(CLASSES)} (default: each text's own)",
    )
    group.add_argument("--minimum-tier", choices=TIERS, help="refuse to be answered by a lesser tier")
    group.add_argument(
        "--policy",
        type=_policy,
        default=Policy(),
        metavar="WHO",
        help="who picks the tier: mesh, or this client: full, light, or switch:MS by its mean latency (default: mesh)",
    )
    group.add_argument(
        "--deadline", type=arguments.milliseconds, default=1.0, metavar="MS", help="for a good answer (default: 1000)"
    )
    group.add_argument(
        "--attempt",
        type=arguments.milliseconds,
        default=0.0,
        metavar="MS",
        help="for one attempt (default: what is left)",
    )
    group.add_argument("--retries", type=int, choices=range(10), default=0, metavar="N", help="0 to 9 (default: 0)")
    group.add_argument(
        "--backoff", type=arguments.pause, default=0.05, help="seconds, doubled each time (default: 0.05)"
    )
    group.add_argument(
        "--pushback", choices=("respect", "ignore"), default="respect", help="a refusal's word (default: respect)"
    )


def plan_of(options: argparse.Namespace, router: str) -> Plan:
    """The plan that `options` describe. Raises ConfigError when texts or trace cannot be read."""
    duration_s = options.duration
    if duration_s is None:
        duration_s = read_trace(options.trace)[-1].at_s + AFTER_TRACE_S if options.trace else 30.0
    return Plan(
        router=router,
        model=options.model,
        arrivals=options.arrivals,
        rate=options.rate.with_spikes(options.spike).steps,
        duration_s=duration_s,
        seed=options.seed,
        trace=options.trace and options.trace.resolve(),
        face="unary" if options.unary else "stream",
        processes=options.processes,
        connections=options.connections,
        deadline_s=options.deadline,
        attempt_s=options.attempt,
        retry=RetryLaw(retries=options.retries, backoff_s=options.backoff, respect=options.pushback == "respect"),
        hot=options.hot,
        classes=options.classes,
        texts=read_texts(options.texts),
        policy=options.policy,
        minimum_tier=TIERS.get(options.minimum_tier, Tier.UNSPECIFIED),
        turns=options.conversations,
        think_s=options.think,
        max_open=options.max_open,
        tick_s=options.tick,
        window_s=options.window,
    )


def _read(parse: Callable[[str], Any]) -> Callable[[str], Any]:
    """`parse` with its own words in the command line's complaint."""

    def read(text: str) -> Any:
        try:
            return parse(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from error

    return read


def _arrivals(text: str) -> str:
    _read(variation)(text)
    return text


def _turns(text: str) -> tuple[int, int]:
    least, _, most = text.partition("-")
    turns = arguments.count(least), arguments.count(most or least)
    if turns[0] > turns[1]:
        raise argparse.ArgumentTypeError(f"{text}: the first number is the smaller one")
    return turns


def _classes(text: str) -> dict[QueryClass, float]:
    weights: dict[QueryClass, float] = {}
    for part in text.split(","):
        name, _, weight = part.partition("=")
        if name not in CLASSES:
            raise argparse.ArgumentTypeError(f"{name!r} is no class; there are {', '.join(CLASSES)}")
        weights[CLASSES[name]] = arguments.seconds(weight or "1")
    return weights


def _policy(text: str) -> Policy:
    name, _, above = text.partition(":")
    if name not in {"mesh", "full", "light", "switch"} or (name == "switch") != bool(above):
        raise argparse.ArgumentTypeError(f"{text!r} is no policy; there are mesh, full, light and switch:MS")
    return Policy(kind=name, above_ms=arguments.milliseconds(above) * 1000 if above else 0.0)  # type: ignore[arg-type]
