"""`sluice generate`: have a running mesh write, and read along."""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import sys
import time
from typing import Any

from sluice.cli import arguments
from sluice.cli.addresses import configured
from sluice.cli.infer import TIERS
from sluice.client.generated import Generated
from sluice.client.prompt import Prompt
from sluice.client.sync import Client
from sluice.client.text_stream import TextStream
from sluice.domain.enums import Tier
from sluice.domain.errors import NoEndpoint, SluiceError

STANDARD_INPUT = "-"
EXAMPLES = """examples:
  sluice generate "Dear customer,"                           128 tokens, the most probable each time
  sluice generate "Dear customer," --temperature 0.8 --top-p 0.95 --seed 7
  sluice generate "Dear customer," --max-new-tokens 40 --stop "Yours"
  sluice generate - < prompt.txt > text.txt                  the text alone; what it cost is told on standard error
  sluice generate "Dear customer," --json                    one JSON object a piece, and one about the whole

The text comes as it is written. Ctrl-C ends the writing, and frees its memory at the worker.
Exit status: 0 written to its end, 1 refused or broken off, 2 wrong usage or configuration, 130 Ctrl-C.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the command's arguments."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = EXAMPLES
    parser.add_argument("prompt", help="the text to go on from; - reads it from standard input, whole")
    parser.add_argument("--router", help="the router's address (default: router.listen of the configuration)")
    parser.add_argument("--model", default="", help="the model's name (default: the router's)")
    parser.add_argument("--max-new-tokens", type=arguments.count, help="the most tokens to write (default: 128)")
    parser.add_argument(
        "--temperature",
        type=arguments.temperature,
        help="how freely to choose among tokens, from 0 on (default: 0, the most probable each time)",
    )
    parser.add_argument(
        "--top-p", type=arguments.part, help="choose from the fewest tokens that are so probable together (default: 1)"
    )
    parser.add_argument("--top-k", type=arguments.count, default=0, help="choose from so many tokens (default: all)")
    parser.add_argument("--seed", type=arguments.whole, help="makes the same choices again (default: others each time)")
    parser.add_argument(
        "--stop", action="append", default=[], metavar="TEXT", help="end before this text; may be given up to 16 times"
    )
    parser.add_argument("--priority", type=arguments.share, help="0 to 1, higher is more important (default: 0.5)")
    parser.add_argument("--minimum-tier", choices=TIERS, help="refuse a text by a lesser tier")
    parser.add_argument("--request-id", default="", help="your own name for the request; it stands in traces")
    parser.add_argument(
        "--timeout", type=arguments.seconds, default=60.0, help="seconds for the whole text (default: %(default)s)"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object a piece, and one about the whole")


def run(options: argparse.Namespace) -> int:
    """Print the text as it comes, then what it cost; returns 1 if it failed."""
    router = options.router or configured("router", os.environ)  # noqa: TID251  the command is a composition root
    with Client(router, timeout_s=options.timeout) as client:
        stream = client.generate(_prompt(options))
        begun_at = time.monotonic()
        try:
            first_s = _print(stream, begun_at, as_json=options.json)
        except SluiceError as error:
            _end_line(stream, as_json=options.json)
            return _fail(error, stream, router, as_json=options.json)
    took_s = time.monotonic() - begun_at
    if options.json:
        print(json.dumps(_as_dict(stream.result), ensure_ascii=False), flush=True)
    else:
        _end_line(stream, as_json=False)
        print(summary(stream.result, took_s=took_s, first_s=first_s), file=sys.stderr)
    return 0


def summary(result: Generated, *, took_s: float, first_s: float) -> str:
    """What a text cost and who wrote it, on one line."""
    rate = f"{result.tokens / took_s:.1f} tokens/s" if took_s > 0 else "at once"
    degraded = f" instead of {result.degraded_from.label}" if result.degraded_from else ""
    return (
        f"{result.tokens} tokens after {result.prompt_tokens} of the prompt in {took_s:.2f} s, {rate}, "
        f"the first after {first_s:.2f} s; ended by {result.finish_reason}; "
        f"{result.tier.label} tier{degraded}, {result.variant} on {result.worker}"
    )


def _prompt(options: argparse.Namespace) -> Prompt:
    return Prompt(
        text=_text(options.prompt),
        model=options.model,
        priority=options.priority,
        minimum_tier=TIERS.get(options.minimum_tier, Tier.UNSPECIFIED),
        max_new_tokens=options.max_new_tokens,
        temperature=options.temperature,
        top_p=options.top_p,
        top_k=options.top_k,
        seed=options.seed,
        stop=tuple(_decodable(one) for one in options.stop),
        request_id=options.request_id,
    )


def _text(given: str) -> str:
    if given == STANDARD_INPUT:
        return sys.stdin.buffer.read().decode("utf-8", errors="replace")
    return _decodable(given)


def _decodable(given: str) -> str:
    # What the shell gave that is no UTF-8 cannot be sent.
    return given.encode("utf-8", errors="replace").decode()


def _print(stream: TextStream, begun_at: float, *, as_json: bool) -> float:
    """Print all pieces; returns after how many seconds the first one came."""
    first_s = 0.0
    for piece in stream:
        first_s = first_s or time.monotonic() - begun_at
        if as_json:
            print(json.dumps({"text": piece, "tokens": stream.tokens}, ensure_ascii=False), flush=True)
        else:
            print(piece, end="", flush=True)
    return first_s or time.monotonic() - begun_at


def _end_line(stream: TextStream, *, as_json: bool) -> None:
    if stream.text and not stream.text.endswith("\n") and not as_json:
        print(flush=True)


def _fail(error: SluiceError, stream: TextStream, router: str, *, as_json: bool) -> int:
    if as_json:
        values = {"error": str(error.reason), "message": error.message, "field": error.field, "tokens": stream.tokens}
        print(json.dumps(values, ensure_ascii=False), flush=True)
    print(f"{error.reason}: {error.message}", file=sys.stderr)
    if isinstance(error, NoEndpoint):
        print(f"Is a mesh up at {router}? Start one with: sluice up", file=sys.stderr)
    return 1


def _as_dict(result: Generated) -> dict[str, Any]:
    values = dataclasses.asdict(result)
    values["tier"], values["degraded_from"] = result.tier.label, result.degraded_from.label
    return values
