"""`sluice quantize`: a smaller model from a checkpoint, and what that costs."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from sluice.cli.stages import Stages
from sluice.domain.errors import InvalidRequest
from sluice.runtime.config import ConfigError

# The report of `sluice quantize`: what became of size, speed and quality.


if TYPE_CHECKING:
    # torch comes with these, and --help should not wait for it.
    from sluice.compression.measurement import Measurement
    from sluice.compression.report import Report


def table(report: Report) -> Table:
    """Size, speed and quality before and after."""
    made = Table(title=_title(report))
    made.add_column("")
    for measurement in (report.before, report.after):
        made.add_column(f"{measurement.precision}, {measurement.runtime}", justify="right")
    made.add_column("change", justify="right")
    before, after = report.before, report.after
    made.add_row("weights", _megabytes(before), _megabytes(after), f"x {after.size_bytes / before.size_bytes:.2f}")
    if before.items_per_s and after.items_per_s:
        ratio = f"x {after.items_per_s / before.items_per_s:.2f}"
        made.add_row("texts/s, batches of 16", f"{before.items_per_s:.0f}", f"{after.items_per_s:.0f}", ratio)
    for name, was, became in _qualities(report):
        made.add_row(name, f"{was:.2%}", f"{became:.2%}", f"{100 * (became - was):+.2f} points")
    return made


def _qualities(report: Report) -> Iterator[tuple[str, float, float]]:
    names = {
        "accuracy": f"accuracy on {report.examples} texts",
        "cosine": f"cosine to fp32 on {report.examples} texts",
        "least_cosine": "that of the worst text",
        "same_neighbour": "texts with the same nearest other",
    }
    for key, name in names.items():
        was, became = getattr(report.before.quality, key), getattr(report.after.quality, key)
        if was is not None and became is not None:
            yield name, was, became


def _title(report: Report) -> str:
    said = f"{report.settings.method} weights, activations {report.activations()}"
    if report.removed:
        heads = f"{report.removed.heads} of {report.removed.of_heads} heads"
        neurons = f"{report.removed.neurons} of {report.removed.of_neurons} neurons"
        said += f"; {heads} and {neurons} removed from each layer"
    return said


def _megabytes(measurement: Measurement) -> str:
    return f"{measurement.size_bytes / 1e6:.2f} MB"


PLAIN_WIDTH = 100


EXAMPLES = """examples:
  sluice quantize --input_model original.pt --output_model quantized.pt --bits 8 --method symmetric
  sluice quantize --input_model models/mine --output_model models/mine-int8 --evaluate labelled.jsonl
  sluice quantize --input_model models/mine --output_model models/mine-int4 --bits 4 --prune 0.25
  sluice quantize --input_model my-embedder --output_model my-embedder-int8 --evaluate texts.txt
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the command's arguments. Their values are judged by the compression itself."""
    parser.epilog = EXAMPLES
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument(
        "--input_model",
        type=Path,
        required=True,
        metavar="PATH",
        help="a Hugging Face checkpoint directory, or a .pt state dict with its config.json and tokenizer beside it; "
        "an encoder that classifies or embeds, as transformers or sentence-transformers save it",
    )
    parser.add_argument(
        "--output_model",
        type=Path,
        required=True,
        metavar="PATH",
        help="a new checkpoint directory, or, ending in .pt, a single file; the CPU worker serves either as it is",
    )
    parser.add_argument("--bits", default="8", metavar="8|4", help="bits of a weight (default: %(default)s)")
    parser.add_argument(
        "--method",
        default="symmetric",
        metavar="symmetric|asymmetric",
        help="whether a weight of zero is zero, or has a zero point (default: %(default)s)",
    )
    parser.add_argument(
        "--block_size", metavar="N", help="weights that share a scale; with --bits 4 only (default then: 32)"
    )
    parser.add_argument(
        "--calibration",
        type=Path,
        metavar="FILE",
        help="texts, one a line or as JSON lines with a text, to fix activation ranges on (default: ranges by batch)",
    )
    parser.add_argument(
        "--ranges",
        metavar="minmax|percentile",
        help="what of the calibrated values the ranges span; with --calibration only (default then: minmax)",
    )
    parser.add_argument(
        "--prune",
        default="0",
        metavar="FRACTION",
        help="remove this part of all heads and feed-forward neurons first; nothing is trained afterwards, so "
        "measure what that costs (default: %(default)s)",
    )
    parser.add_argument(
        "--evaluate",
        type=Path,
        metavar="FILE",
        help="what to measure before and after on: JSON lines with text and label; for a model that embeds, texts as "
        "--calibration takes them, whose vectors are compared with those of the original",
    )
    parser.add_argument(
        "--allow_pickle",
        action="store_true",
        help="unpickle a whole module: the file can then run any code on this machine, so only if you trust its maker",
    )
    parser.add_argument("--force", action="store_true", help="replace the output if it exists")


def run(options: argparse.Namespace) -> int:
    """Returns 0; raises ConfigError, a line that names the option or file at fault."""
    bits = _whole("bits", options.bits)
    block_size = None if options.block_size is None else _whole("block_size", options.block_size)
    prune = _number("prune", options.prune)
    try:
        from sluice.compression.run import compress
        from sluice.compression.settings import Settings
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"{error.name} is not installed; a worker's packages are: pip install 'sluice[worker]'"
        ) from error

    errors = Console(stderr=True, soft_wrap=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    try:
        settings = Settings(
            source=options.input_model,
            output=options.output_model,
            bits=bits,
            method=options.method,
            block_size=block_size,
            calibration=options.calibration,
            ranges=options.ranges,
            prune=prune,
            evaluate=options.evaluate,
            allow_pickle=options.allow_pickle,
            force=options.force,
        )
        # In a file, bars would be but noise.
        with Progress(*columns, console=errors, transient=True, disable=not errors.is_terminal) as progress:
            report = compress(settings, Stages(progress))
    except InvalidRequest as error:
        named = f"--{error.field}: " if hasattr(options, error.field) else ""
        raise ConfigError(f"{named}{error.message}") from error
    console = Console(width=None if sys.stdout.isatty() else PLAIN_WIDTH, highlight=False)
    console.print(table(report))
    console.print(f"{settings.output} is ready.", markup=False, soft_wrap=True)
    return 0


def _whole(name: str, text: str) -> int:
    value = _number(name, text)
    if not value.is_integer():
        raise ConfigError(f"--{name}: {text} is no whole number")
    return int(value)


def _number(name: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ConfigError(f"--{name}: {text} is no number")
    return value
