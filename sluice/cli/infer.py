"""`sluice infer`: ask a running mesh."""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import sys
from collections.abc import Iterable, Iterator
from typing import Any

from rich.console import Console
from rich.markup import escape

from sluice.cli import arguments
from sluice.cli.addresses import configured
from sluice.client.answer import Answer
from sluice.client.query import Query
from sluice.client.sync import Client
from sluice.domain.enums import QueryClass, Tier
from sluice.domain.errors import NoEndpoint, SluiceError

CLASSES = {query_class.label: query_class for query_class in QueryClass if query_class}
TIERS = {tier.label: tier for tier in Tier if tier}
STANDARD_INPUT = "-"
_BLOCK_BYTES = 65_536


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the command's arguments."""
    parser.add_argument("text", nargs="+", help="texts to answer; - reads them from standard input, one a line")
    parser.add_argument("--router", help="the router's address (default: router.listen of the configuration)")
    parser.add_argument("--model", default="", help="the model's name (default: the router's)")
    parser.add_argument("--priority", type=arguments.share, help="0 to 1, higher is more important (default: 0.5)")
    parser.add_argument("--class", dest="query_class", choices=CLASSES, help="the kind of question (default: inferred)")
    parser.add_argument("--minimum-tier", choices=TIERS, help="refuse to be answered by a lesser tier")
    parser.add_argument("--top-k", type=arguments.count, default=0, help="how many of the best labels to list")
    parser.add_argument("--truncate", action="store_true", help="cut texts that are too long")
    parser.add_argument("--timeout", type=arguments.seconds, default=10.0, help="seconds (default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="one JSON object a text, answered or not")


def run(options: argparse.Namespace) -> int:
    """Print each text's answer, or why there is none; returns 1 if any failed."""
    router = options.router or configured("router", os.environ)  # noqa: TID251  the command is a composition root
    console, failed, unreachable = Console(soft_wrap=True), False, False
    with Client(router, timeout_s=options.timeout) as client:
        for outcome in _outcomes(client, options):
            if options.json:
                print(as_json(outcome), flush=True)
            elif isinstance(outcome, Answer):
                console.print(as_line(outcome), highlight=False)
            if isinstance(outcome, SluiceError):
                failed, unreachable = True, unreachable or isinstance(outcome, NoEndpoint)
                print(f"{outcome.reason}: {outcome.message}", file=sys.stderr)
    if unreachable:
        print(f"Is a mesh up at {router}? Start one with: sluice up", file=sys.stderr)
    return 1 if failed else 0


def as_line(answer: Answer) -> str:
    """An answer for people, in rich's markup."""
    degraded = f" [yellow]instead of {answer.degraded_from.label}[/]" if answer.degraded_from else ""
    others = "".join(f"\n    {score:.3f}  {escape(label)}" for label, score in answer.scores)
    times = f"queue {answer.queue_ms:.1f} ms, batch {answer.batch_ms:.1f} ms, compute {answer.compute_ms:.1f} ms"
    who = f"[dim]{escape(answer.variant)} on {escape(answer.worker)}; {times}[/]"
    return f"[bold]{escape(answer.label)}[/] {answer.score:.3f}{degraded}  {who}{others}"


def as_json(outcome: Answer | SluiceError) -> str:
    """An outcome for programs: an answer's fields, or `error`, `message` and `field`."""
    if isinstance(outcome, SluiceError):
        values: dict[str, Any] = {"error": str(outcome.reason), "message": outcome.message, "field": outcome.field}
    else:
        values = dataclasses.asdict(outcome)
        values["tier"], values["degraded_from"] = outcome.tier.label, outcome.degraded_from.label
        values["levels"] = [level.name.lower() for level in outcome.levels]
    return json.dumps(values, ensure_ascii=False)


def _outcomes(client: Client, options: argparse.Namespace) -> Iterator[Answer | SluiceError]:
    if STANDARD_INPUT in options.text and not sys.stdin.isatty():
        yield from client.infer_many(_queries(options))
        return
    # Single calls answer each line as it is typed, and have their deadline at this end too, for a router that is stuck.
    for query in _queries(options):
        try:
            yield client.infer(query)
        except SluiceError as error:
            yield error


def _queries(options: argparse.Namespace) -> Iterator[Query]:
    for text in _texts(options.text):
        yield Query(
            text=text,
            model=options.model,
            priority=options.priority,
            query_class=CLASSES.get(options.query_class, QueryClass.UNSPECIFIED),
            minimum_tier=TIERS.get(options.minimum_tier, Tier.UNSPECIFIED),
            truncate=options.truncate,
            top_k=options.top_k,
        )


def _texts(given: Iterable[str]) -> Iterator[str]:
    for text in given:
        if text == STANDARD_INPUT:
            yield from _lines(sys.stdin.fileno())
        else:
            # What the shell gave that is no UTF-8 cannot be sent.
            yield text.encode("utf-8", errors="replace").decode()


def _lines(descriptor: int) -> Iterator[str]:
    # Read past Python's own buffer: its lock, held by a thread that waits for a line, aborts Python at Ctrl-C.
    rest = b""
    while block := os.read(descriptor, _BLOCK_BYTES):
        *lines, rest = (rest + block).split(b"\n")
        yield from map(_decoded, lines)
    if rest:
        yield _decoded(rest)


def _decoded(line: bytes) -> str:
    return line.rstrip(b"\r").decode("utf-8", errors="replace")
