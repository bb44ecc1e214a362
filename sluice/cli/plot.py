"""`sluice plot`: a run's results as a picture, or several laid over each other."""

from __future__ import annotations

import argparse
from pathlib import Path

from sluice.plot.drawing import draw
from sluice.plot.run_file import read_run

EXAMPLES = """examples:
  sluice plot run.json -o run.png            what was offered and answered, how long it took, signals and levels
  sluice plot on.json off.json -o both.png   two runs of one load, laid over each other
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the command's arguments."""
    parser.epilog = EXAMPLES
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN.json", help="results of sluice load --json")
    parser.add_argument("-o", "--output", type=Path, required=True, help="the picture: .png, .svg or .pdf")
    parser.add_argument("--title", default="", help="over the picture")


def run(options: argparse.Namespace) -> int:
    """Write the picture. Each run goes by its file's name."""
    draw([(path.stem, read_run(path)) for path in options.runs], options.output, title=options.title)
    return 0
