"""Quality, memory and time by precision: python -m benchmarks.precision [--device NAME] [--large] [--quick]

The demo's full model is judged on the test messages of its card; with --large a 1.5B model with random weights is
timed too. All precisions are timed in turn, in one process. Prints tables and writes benchmarks/results/precision/.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from transformers import logging as transformers_logging

from benchmarks.machine import machine, versions
from benchmarks.precision.measuring import Model, Row, time_all
from benchmarks.precision.subject import Subject, demo, large
from sluice.domain.errors import InvalidRequest
from sluice.engine.accelerator import device_name, pick_device
from sluice.engine.precision.loader import PRECISIONS
from sluice.runtime.cpu import granted_cores

RESULTS = Path(__file__).resolve().parents[1] / "results" / "precision"
LIBRARIES = ("torch", "torchao", "transformers", "sluice")
PLAIN_WIDTH = 130
FULL_ROUNDS, CPU_ROUNDS, QUICK_ROUNDS = 30, 10, 2
# Of the card's six thousand test messages: on a CPU fp16 and fp8 take minutes for all of them.
FULL_SCALE, CPU_SCALE, QUICK_SCALE = 1.0, 0.25, 0.02


def measure(subject: Subject, precisions: list[str], device: torch.device, *, rounds: int) -> dict[str, Any]:
    """The rows of `subject`, and why a precision has none."""
    models, refused = [], {}
    for precision in precisions:
        try:
            models.append(Model(subject, precision, device))
        except (InvalidRequest, MemoryError) as error:
            refused[precision] = str(error)
    for model in models:
        if subject.messages:
            model.judge(subject)
    if rounds:
        time_all(models, subject.shapes, rounds=rounds)
    return {
        "subject": subject.name,
        "messages": len(subject.messages),
        "rounds": rounds,
        "rows": [asdict(model.row) for model in models],
        "refused": refused,
    }


def picture(measured: dict[str, Any]) -> Table:
    """A row for each precision, each set against the first."""
    rows = [Row(**row) for row in measured["rows"]]
    table = Table(title=measured["subject"])
    shapes = list(rows[0].times_ms)
    for name in ("precision", "weights", "", "accuracy", *(f"ms of {shape}" for shape in shapes)):
        table.add_column(name, justify="left" if name == "precision" else "right")
    first = rows[0]
    for row in rows:
        saved = f"{100 * (row.held_bytes / first.held_bytes - 1):+.1f} %"
        accuracy = "" if row.accuracy is None else f"{row.accuracy:.2%}"
        times = [f"{row.times_ms[shape]:.2f} ({first.times_ms[shape] / row.times_ms[shape]:.2f}x)" for shape in shapes]
        table.add_row(row.precision, f"{row.held_bytes / 1e6:.2f} MB", saved, accuracy, *times)
    for precision, why in measured["refused"].items():
        table.add_row(precision, "refused", "", "", why)
    return table


def main() -> int:
    """Measure, show, write."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.precision", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="auto", help="a torch device (default: the accelerator, else the CPU)")
    parser.add_argument("--precisions", default=",".join(PRECISIONS), help="which (default: %(default)s)")
    parser.add_argument("--large", action="store_true", help="time a 1.5B model too; takes 20 GB of the device")
    parser.add_argument("--untimed", action="store_true", help="quality and memory only, as on a machine that is busy")
    parser.add_argument("--quick", action="store_true", help="few rounds and messages; writes nothing")
    parser.add_argument("--output", type=Path, help=f"the file that is written (default: {RESULTS}/DEVICE.json)")
    options = parser.parse_args()
    device = pick_device(options.device)
    torch.set_num_threads(granted_cores())
    transformers_logging.disable_progress_bar()
    precisions = options.precisions.split(",")
    rounds, scale = (CPU_ROUNDS, CPU_SCALE) if device.type == "cpu" else (FULL_ROUNDS, FULL_SCALE)
    if options.quick:
        rounds, scale = QUICK_ROUNDS, QUICK_SCALE
    if options.untimed:
        rounds = 0
    judged = demo(scale, device)
    subjects = [measure(judged, precisions, device, rounds=rounds)]
    if options.large:
        with tempfile.TemporaryDirectory(prefix="sluice-bench-") as scratch:
            subjects.append(measure(large(Path(scratch), device), precisions, device, rounds=rounds))
    console = Console(width=None if sys.stdout.isatty() else PLAIN_WIDTH)
    for measured in subjects:
        console.print(picture(measured))
    output = options.output or (None if options.quick else RESULTS / f"{device.type}.json")
    if output is not None:
        about = {"device": device_name(device.type), "machine": machine(), "versions": versions(LIBRARIES)}
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(json.dumps({**about, "subjects": subjects}, indent=2) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
