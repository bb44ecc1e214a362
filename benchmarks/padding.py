"""What cutting batches by length gains on this CPU, by the demo models: `python -m benchmarks.padding`.

For each model: what a forward pass costs beyond its tokens, in tokens, and the texts per second of batches of 32 whose
lengths are log-normal between 8 and 256 tokens, whole and cut. On one thread: several that wait for each other measure
the machine's other programs. Writes benchmarks/results/padding.json.
"""

from __future__ import annotations

import json
import random
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch

from benchmarks.length_mix import lengths
from benchmarks.machine import machine
from services.cpu_worker.load import load
from sluice.domain.enums import Tier
from sluice.engine.encoder.pipeline import CPU_OVERHEAD_TOKENS, Pipeline, pack_by_length
from sluice.engine.encoder.torch_backend import TorchBackend
from sluice.engine.onnx.backend import OnnxBackend
from sluice.worker.execution.backend import Item, ModelSpec

ROOT = Path(__file__).resolve().parent.parent
MODELS = {"full": Tier.FULL, "light": Tier.LIGHT, "quantized": Tier.QUANTIZED}
RESULTS = ROOT / "benchmarks" / "results" / "padding.json"
BATCH, BATCHES, RUNS = 32, 8, 5


def median_s(run: Callable[[], Any]) -> float:
    """Median of RUNS runs behind one that is not counted, in seconds."""
    run()
    times = []
    for _ in range(RUNS):
        begun_at = time.perf_counter()
        run()
        times.append(time.perf_counter() - begun_at)
    return statistics.median(times)


def texts(tokenizer: Any, dice: random.Random) -> list[Item]:
    """The demo's texts, strung together and cut to `lengths`."""
    lines = (ROOT / "examples" / "requests.jsonl").read_text(encoding="utf-8").splitlines()
    sentences = [json.loads(line)["text"] for line in lines]
    items = []
    for length in lengths(dice, BATCH * BATCHES):
        long = " ".join(dice.choices(sentences, k=40))
        ids = tokenizer(long, truncation=True, max_length=length, add_special_tokens=False)["input_ids"]
        items.append(Item(tokenizer.decode(ids), truncate=True))
    return items


def overhead_tokens(forward: Callable[[dict[str, torch.Tensor]], torch.Tensor]) -> float:
    """What two tokens take beyond the time of two among many, in tokens."""

    def time_of(size: int, length: int) -> float:
        ids = torch.randint(10, 100, (size, length))
        return median_s(lambda: forward({"input_ids": ids, "attention_mask": torch.ones_like(ids)}))

    token_s = (time_of(16, 64) - time_of(4, 16)) / (16 * 64 - 4 * 16)
    return time_of(1, 2) / token_s - 2


def run_all(pipeline: Pipeline, backend: TorchBackend | OnnxBackend, items: list[Item]) -> None:
    """All items in batches of BATCH."""
    for start in range(0, len(items), BATCH):
        pipeline.run(items[start : start + BATCH], backend.forward)


def main() -> None:
    """Print a line for the padding, and one for each model; write them all to RESULTS."""
    dice = random.Random(1)
    batches = [lengths(dice, BATCH) for _ in range(200)]
    real = sum(map(sum, batches))
    whole = sum(BATCH * max(batch) for batch in batches)
    cuts = [(batch, pack_by_length(batch, overhead=CPU_OVERHEAD_TOKENS)) for batch in batches]
    cut = sum(len(part) * max(batch[place] for place in part) for batch, parts in cuts for part in parts)
    count = sum(len(parts) for _, parts in cuts) / len(cuts)
    print(f"padding: {1 - real / whole:.0%} whole, {1 - real / cut:.1%} cut into {count:.1f} sub-batches")
    found: dict[str, Any] = {"padding": {"whole": round(1 - real / whole, 4), "cut": round(1 - real / cut, 4)}}
    for name, tier in MODELS.items():
        spec = ModelSpec(model=name, tier=tier, checkpoint=ROOT / "models" / f"support-intent-{name}", threads=1)
        backend = load(spec, cache="~/.cache/sluice")
        if not isinstance(backend, TorchBackend | OnnxBackend):
            raise TypeError(f"{name} is not computed by an engine")
        items = texts(backend.checkpoint.tokenizer, random.Random(3))
        rates = []
        for overhead in (None, CPU_OVERHEAD_TOKENS):
            pipeline = Pipeline(backend.checkpoint, overhead=overhead)
            rates.append(len(items) / median_s(partial(run_all, pipeline, backend, items)))
        more = overhead_tokens(backend.forward)
        found[name] = {
            "overhead_tokens": round(more, 1),
            "whole_per_s": round(rates[0], 1),
            "cut_per_s": round(rates[1], 1),
            "times": round(rates[1] / rates[0], 2),
        }
        print(
            f"{name}: a pass costs {more:.0f} tokens more; "
            f"{rates[0]:.0f} texts/s whole, {rates[1]:.0f} texts/s cut, {rates[1] / rates[0]:.2f} times as many"
        )
    RESULTS.write_text(json.dumps({"machine": machine(), **found}, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
