"""`sluice infer`: ask a running mesh."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections.abc import Iterable

from rich.console import Console

from sluice.client.answer import Answer
from sluice.client.options import DEFAULT_ROUTER
from sluice.client.query import Query
from sluice.client.sync import Client
from sluice.errors import NoEndpoint, SluiceError
from sluice.tier import QueryClass, Tier

CLASSES = {query_class.label: query_class for query_class in QueryClass if query_class}
TIERS = {tier.label: tier for tier in Tier if tier}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the command's arguments."""
    parser.add_argument("text", nargs="+", help="texts to answer; - reads them from standard input, one a line")
    parser.add_argument("--router", default=DEFAULT_ROUTER, help="the router's address (default: %(default)s)")
    parser.add_argument("--model", default="", help="the model's name (default: the router's)")
    parser.add_argument("--priority", type=float, help="0 to 1, higher is more important (default: 0.5)")
    parser.add_argument("--class", dest="query_class", choices=CLASSES, help="the kind of question (default: inferred)")
    parser.add_argument("--minimum-tier", choices=TIERS, help="refuse to be answered by a lesser tier")
    parser.add_argument("--top-k", type=int, default=0, help="how many labels to list beside the best")
    parser.add_argument("--timeout", type=float, default=10.0, help="seconds (default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="one JSON object a text")


def run(options: argparse.Namespace) -> int:
    """Print each text's answer, or why there is none; returns 1 if any failed."""
    console, failed = Console(), False
    with Client(options.router, timeout_s=options.timeout) as client:
        for outcome in client.infer_many(_queries(options)):
            if isinstance(outcome, Answer):
                print(as_json(outcome)) if options.json else console.print(as_line(outcome), highlight=False)
                continue
            failed = True
            print(f"{outcome.reason}: {outcome.message}{_hint(outcome, options.router)}", file=sys.stderr)
    return 1 if failed else 0


def as_line(answer: Answer) -> str:
    """An answer for people."""
    degraded = f" [yellow]instead of {answer.degraded_from.label}[/]" if answer.degraded_from else ""
    others = "".join(f"\n    {label} {score:.3f}" for label, score in answer.scores)
    times = f"queue {answer.queue_ms:.1f} ms, batch {answer.batch_ms:.1f} ms, compute {answer.compute_ms:.1f} ms"
    who = f"[dim]{answer.variant} on {answer.worker}; {times}[/]"
    return f"[bold]{answer.label}[/] {answer.score:.3f}{degraded}  {who}{others}"


def as_json(answer: Answer) -> str:
    """An answer for programs."""
    values = dataclasses.asdict(answer)
    values["tier"], values["degraded_from"] = answer.tier.label, answer.degraded_from.label
    values["levels"] = [level.name.lower() for level in answer.levels]
    return json.dumps(values, ensure_ascii=False)


def _queries(options: argparse.Namespace) -> Iterable[Query]:
    for text in options.text:
        for line in (one.rstrip("\n") for one in sys.stdin) if text == "-" else (text,):
            yield Query(
                text=line,
                model=options.model,
                priority=options.priority,
                query_class=CLASSES.get(options.query_class, QueryClass.UNSPECIFIED),
                minimum_tier=TIERS.get(options.minimum_tier, Tier.UNSPECIFIED),
                top_k=options.top_k,
            )


def _hint(error: SluiceError, router: str) -> str:
    return f"\nIs a mesh up at {router}? Start one with: sluice up" if isinstance(error, NoEndpoint) else ""
