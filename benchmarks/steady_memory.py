"""What a quantized backend's memory does over hours, by the engines' settings: `python -m benchmarks.steady_memory`.

Every setting is a process of its own that runs the same batches of mixed lengths, cut as a worker cuts them, through
the int8 graph of a model as wide as DistilBERT. Of its layers two are enough: each needs the memory that the one before
gave back. Memory is what is resident (RSS); speed is counted in seconds of CPU time, whatever else runs meanwhile.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from rich.console import Console
from rich.table import Table

from benchmarks.length_mix import lengths
from sluice.engine.encoder.pipeline import CPU_OVERHEAD_TOKENS, pack_by_length

ROOT = Path(__file__).resolve().parent.parent
BATCHES, LARGEST, LAYERS, VOCABULARY = 1000, 16, 2, 30_522
MARKS = (0.1, 0.5, 1.0)
THREADS = 2
Feed = dict[str, np.ndarray[Any, Any]]
Run = Callable[[Feed], object]


def graph(folder: Path) -> Path:
    """The int8 graph of a model with random weights, made in `folder`."""
    from transformers import AutoModelForSequenceClassification, DistilBertConfig

    from sluice.engine.onnx.export import export_int8

    config = DistilBertConfig(n_layers=LAYERS, vocab_size=VOCABULARY, num_labels=15)
    AutoModelForSequenceClassification.from_config(config).save_pretrained(folder)
    return export_int8(folder, folder / "onnx" / "model_int8.onnx")


def feeds(count: int, *, step: int = 1) -> Iterator[list[Feed]]:
    """The sub-batches of each of `count` batches, padded to a multiple of `step`; the same ones in every process."""
    dice, numbers = random.Random(1), np.random.default_rng(1)
    for _ in range(count):
        batch = lengths(dice, dice.randint(1, LARGEST))
        parts = []
        for part in pack_by_length(batch, overhead=CPU_OVERHEAD_TOKENS):
            longest = max(batch[place] for place in part)
            ids = numbers.integers(1, VOCABULARY, (len(part), longest))
            feed = {"input_ids": ids, "attention_mask": np.ones_like(ids)}
            parts.append({name: np.pad(values, ((0, 0), (0, -longest % step))) for name, values in feed.items()})
        yield parts


def onnxruntime_run(
    file: Path, *, arena: bool = True, pattern: bool = True, shrink: bool = False, exact: bool = False
) -> Run:
    """ONNX Runtime with or without its arena, memory patterns, shrinkage after each run, and growth as requested."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = THREADS, 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.enable_cpu_mem_arena, options.enable_mem_pattern = arena, pattern
    if exact:
        place = onnxruntime.OrtMemoryInfo(
            "Cpu", onnxruntime.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, onnxruntime.OrtMemType.DEFAULT
        )
        arena_config = onnxruntime.OrtArenaCfg({"arena_extend_strategy": 1})
        onnxruntime.create_and_register_allocator(place, arena_config)
        options.add_session_config_entry("session.use_env_allocators", "1")
    run_options = onnxruntime.RunOptions()
    if shrink:
        run_options.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
    session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    return lambda feed: session.run(["logits"], feed, run_options)


def openvino_run(file: Path, **properties: object) -> Run:
    """OpenVINO with the settings of a worker, and other `properties` besides."""
    from sluice.engine.onnx.runtime import OpenVinoRuntime

    runtime = OpenVinoRuntime(file, threads=THREADS, **properties)
    return lambda feed: runtime.run(feed, "logits")


def cached(capacity: int) -> Callable[[Path], Run]:
    """OpenVINO with room for the kernels of so many shapes; it keeps 5,000 by itself."""
    return lambda file: openvino_run(file, CPU_RUNTIME_CACHE_CAPACITY=capacity)


SETTINGS: dict[str, Callable[[Path], Run]] = {
    "onnxruntime": onnxruntime_run,
    "no pattern": lambda file: onnxruntime_run(file, pattern=False),
    "no arena": lambda file: onnxruntime_run(file, arena=False),
    "no arena, no pattern": lambda file: onnxruntime_run(file, arena=False, pattern=False),
    "as requested": lambda file: onnxruntime_run(file, exact=True),
    "shrink": lambda file: onnxruntime_run(file, shrink=True),
    "shrink, no pattern": lambda file: onnxruntime_run(file, shrink=True, pattern=False),
    "openvino": openvino_run,
    "openvino, cache 1000": cached(1000),
    "openvino, cache 250": cached(250),
    "openvino, cache 60": cached(60),
    "openvino, cache 0": cached(0),
}


def measure(setting: str, file: Path, batches: int, step: int) -> dict[str, Any]:
    """MiB that are resident when the graph is loaded, then at each of MARKS, and CPU seconds of all batches."""
    process = psutil.Process()
    before = process.memory_info().rss
    run = SETTINGS[setting](file)
    resident = [process.memory_info().rss - before]
    marks = {round(mark * batches) for mark in MARKS}
    began, began_cpu = time.perf_counter(), time.process_time()
    for number, parts in enumerate(feeds(batches, step=step), start=1):
        for feed in parts:
            run(feed)
        if number in marks:
            resident.append(process.memory_info().rss - before)
    return {
        "mib": [round(one / 2**20) for one in resident],
        "cpu_s": time.process_time() - began_cpu,
        "wall_s": time.perf_counter() - began,
    }


def main() -> None:
    """Measure every setting, or those that are named, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batches", type=int, default=BATCHES, help="batches of each setting (default: %(default)s)")
    parser.add_argument(
        "--step", type=int, default=1, help="pad to a multiple of so many tokens (default: %(default)s)"
    )
    parser.add_argument("--setting", action="append", choices=SETTINGS, help="measure this one only; may be repeated")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--graph", type=Path, help="an int8 graph that is there (default: one is made)")
    options = parser.parse_args()
    if options.child:
        print(json.dumps(measure(options.setting[0], options.child, options.batches, options.step)))
        return
    table = Table("setting", "loaded", *(f"{mark:.0%}" for mark in MARKS), "CPU time", title="resident MiB")
    with tempfile.TemporaryDirectory() as folder:
        file = options.graph or graph(Path(folder))
        first = 0.0
        for setting in options.setting or SETTINGS:
            words = ["--child", str(file), "--setting", setting, "--batches", str(options.batches)]
            words += ["--step", str(options.step)]
            command = [sys.executable, "-m", "benchmarks.steady_memory", *words]
            done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
            if done.returncode:
                table.add_row(setting, done.stderr.strip().splitlines()[-1])
                continue
            found = json.loads(done.stdout.splitlines()[-1])
            first = first or found["cpu_s"]
            table.add_row(setting, *map(str, found["mib"]), f"x {found['cpu_s'] / first:.2f}")
            Console(stderr=True).print(setting, found)
    Console().print(table)


if __name__ == "__main__":
    main()
