"""The `sluice` command: one subcommand a file, imported only when it is used."""

from __future__ import annotations

import argparse
import asyncio
import importlib
import inspect
import sys
from collections.abc import Sequence

from sluice.runtime.broken_pipe import run_with_pipes
from sluice.runtime.config import ConfigError

COMMANDS = {
    "up": "run a whole mesh on this machine until Ctrl-C",
    "infer": "ask a running mesh",
    "generate": "have a running mesh write, and read along",
    "top": "show the fleet live in the terminal",
    "load": "offer a mesh a load, open loop, and see what becomes of it",
    "plot": "make a picture of what a load came to",
    "levels": "show how the degradation level has changed, and why",
    "degrade": "put a degradation level in force for a while, or end that",
    "quantize": "make a model smaller: 8 or 4 bits, with or without pruning, and measure what that costs",
    "distill": "make a small model learn from a large one, and measure how like it becomes",
    "demo": "start a mesh, send it the example requests, report, and stop it",
}
EXAMPLES = """examples:
  sluice up                                      start the four services on loopback
  sluice infer "where is my parcel?"             ask them
  sluice infer - --json < texts.txt              one text a line, one JSON object a line
  sluice generate "Dear customer,"               have them write, and read along
  sluice top                                     see workers, tiers, queues and the level
  sluice load --rate 500 --json run.json         offer them a load, open loop
  sluice plot run.json -o run.png                see what became of it
  sluice levels --follow                         see the level change, and why
  sluice degrade --level offload --seconds 30    rehearse a level
  sluice demo                                    all of it, unattended
"""
INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status: 0 done, 1 failed or refused, 2 wrong usage or configuration."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    return run_with_pipes(lambda: _run_or_explain(words))


def _run_or_explain(words: Sequence[str]) -> int:
    try:
        return _run(words)
    except ConfigError as error:
        print(f"sluice {words[0]}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return INTERRUPTED


def _run(words: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="sluice",
        description="A gRPC mesh that serves transformer models and degrades instead of failing.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    # Only the command that is asked for is imported, so that --help is instant.
    chosen = next((word for word in words if not word.startswith("-")), None)
    chosen_parser = parser
    for name, summary in COMMANDS.items():
        subparser = subparsers.add_parser(name, help=summary, description=summary.capitalize() + ".")
        if name == chosen:
            command = importlib.import_module(f"sluice.cli.{name}")
            command.add_arguments(subparser)
            chosen_parser = subparser
    options, unknown = parser.parse_known_args(words)
    if unknown:
        # By the command's own parser, whose usage lists what there is; by itself argparse shows the outer one's.
        chosen_parser.error(f"unrecognized arguments: {' '.join(unknown)}")
    result = command.run(options)
    return int(asyncio.run(result) if inspect.iscoroutine(result) else result)


if __name__ == "__main__":
    raise SystemExit(main())
