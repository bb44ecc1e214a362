"""`sluice distill`: a small model that learns from a large one, and how like it becomes."""

from __future__ import annotations

import argparse
import math
import sys
from dataclasses import fields
from pathlib import Path

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from sluice.cli.arguments import count
from sluice.cli.distill_report import comparison, fidelity
from sluice.cli.quantize import PLAIN_WIDTH
from sluice.cli.stages import Stages
from sluice.domain.errors import InvalidRequest
from sluice.runtime.config import ConfigError

EXAMPLES = """examples:
  sluice distill --teacher models/mine --student models/mine-small --texts mails.txt --layers 2
  sluice distill --teacher models/mine --student models/mine-small --texts mails.jsonl --student-config small.json
  sluice distill ... --evaluate labelled.jsonl --max-loss-points 1

A run that was interrupted goes on where it stopped when the same command is given again. Texts are one a line, or JSON
objects with text, and perhaps label and complexity: a share from 0.0 to 1.0, or a bucket from 0 to 7.
"""
_SIGNALLED = 128


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the command's arguments. Their values are judged by the distillation itself."""
    parser.epilog = EXAMPLES
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    _add_files(parser)
    _add_course(parser)
    _add_computing(parser)
    measuring = parser.add_argument_group("measuring")
    measuring.add_argument(
        "--evaluate",
        type=Path,
        metavar="FILE",
        help="JSON lines with text and label to measure on (default: a tenth of the texts is kept for that)",
    )
    measuring.add_argument(
        "--max-loss-points",
        type=_number,
        metavar="POINTS",
        help="fail, with status 1 and no student, if it loses more accuracy than that, in hundredths",
    )


def _add_files(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--teacher", type=Path, required=True, metavar="DIR", help="a checkpoint directory")
    parser.add_argument("--student", type=Path, required=True, metavar="DIR", help="where the student's is to be")
    parser.add_argument("--texts", type=Path, required=True, metavar="FILE", help="what to learn from")
    shape = parser.add_mutually_exclusive_group(required=True)
    shape.add_argument("--layers", type=count, metavar="N", help="begin as the teacher with so many of its layers")
    shape.add_argument(
        "--student-config",
        type=Path,
        metavar="PATH",
        help="begin as another shape, that of this config.json or its directory; words and labels are the teacher's",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace the student if it exists")
    parser.add_argument(
        "--resume",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="go on with an interrupted run (default), or start anew",
    )


def _add_course(parser: argparse.ArgumentParser) -> None:
    course = parser.add_argument_group("learning")
    length = course.add_mutually_exclusive_group()
    length.add_argument("--epochs", type=count, metavar="N", help="passes over the texts (default: 3)")
    length.add_argument("--steps", type=count, metavar="N", help="batches, instead of epochs")
    course.add_argument("--batch-size", type=count, default=32, metavar="N", help="texts a step (default: %(default)s)")
    course.add_argument(
        "--learning-rate",
        type=_number,
        metavar="RATE",
        help="the highest (default: 1e-4 with --layers, 5e-4 with --student-config)",
    )
    course.add_argument(
        "--temperature", type=_number, default=2.0, metavar="T", help="softens probabilities (default: %(default)s)"
    )
    course.add_argument(
        "--alpha",
        type=_number,
        metavar="SHARE",
        help="what the right label weighs against the teacher's answer, 0 to 1, for texts with one (default: 0.3)",
    )
    course.add_argument(
        "--hidden",
        type=_number,
        nargs="?",
        const=1.0,
        default=0.0,
        metavar="WEIGHT",
        help="with --layers, match the hidden states of the layers that were kept, too (weight: 1)",
    )
    course.add_argument("--seed", type=int, default=0, metavar="N", help="of all that is left to chance")


def _add_computing(parser: argparse.ArgumentParser) -> None:
    computing = parser.add_argument_group("computing")
    computing.add_argument(
        "--max-tokens", type=count, metavar="N", help="cut texts there (default: where both models end)"
    )
    computing.add_argument("--device", default="auto", metavar="NAME", help="auto, cpu, cuda, xpu ... (default: auto)")
    computing.add_argument(
        "--precision",
        default="auto",
        metavar="NAME",
        help="auto, fp32, bf16 or fp16; weights stay fp32 (default: auto, which is bf16 where the device "
        "computes in it natively, else fp16 with scaled gradients, and fp32 on a CPU without a unit for bf16 matrices)",
    )
    computing.add_argument(
        "--save-seconds", type=_number, default=60.0, metavar="S", help="between two savings of the run's state"
    )


def run(options: argparse.Namespace) -> int:
    """Returns 0, 1 if nothing came of it, or 128 and a signal's number; raises ConfigError, which names the fault."""
    try:
        from sluice.distillation.lesson import Interrupted
        from sluice.distillation.run import TooMuchLost, distill
        from sluice.distillation.settings import Settings
        from sluice.training.trainer import Diverged
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"{error.name} is not installed; a worker's packages are: pip install 'sluice[worker]'"
        ) from error

    errors = Console(stderr=True, soft_wrap=True, highlight=False)
    try:
        settings = Settings(**{field.name: getattr(options, field.name) for field in fields(Settings)})
        with _bars(errors) as bars:
            report = distill(settings, Stages(bars))
    except InvalidRequest as error:
        named = f"--{error.field.replace('_', '-')}: " if hasattr(options, error.field) else ""
        raise ConfigError(f"{named}{error.message}") from error
    except (Interrupted, Diverged, TooMuchLost) as error:
        print(f"sluice distill: {error}", file=sys.stderr)
        return _SIGNALLED + error.signal if isinstance(error, Interrupted) else 1
    console = Console(width=None if sys.stdout.isatty() else PLAIN_WIDTH, highlight=False)
    console.print(comparison(report))
    console.print(fidelity(report))
    console.print(f"{settings.student} is ready.", markup=False, soft_wrap=True)
    return 0


def _number(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise argparse.ArgumentTypeError(f"{text} is no number")
    return value


def _bars(console: Console) -> Progress:
    # In a file, bars would be but noise.
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
