"""The full tier on an accelerator against its targets: python -m benchmarks.gpu [--only PART ...] [--smoke]

The model has the shape of DeepSeek-R1-Distill-Qwen-1.5B and random weights, which are made on the device. fp32 is true
fp32, with TF32 off. Mixed is weights and activations in bf16, with norms, softmax and sums in fp32, as transformers
computes. Ratios are taken within one run, in turn. Prints a table and adds the parts that were measured to
benchmarks/results/gpu.json, so that several short runs fill it.
"""

from __future__ import annotations

from benchmarks.gpu import batch, decode, floors, memory, prefill
from benchmarks.gpu.bench import Part
from benchmarks.gpu.program import run

PARTS: dict[str, Part] = {
    "floors": floors.measure,
    "memory": memory.measure,
    "batch": batch.measure,
    "prefill": prefill.measure,
    "decode": decode.measure,
    "decode-compiled": decode.measure_compiled,
}

if __name__ == "__main__":
    raise SystemExit(run("gpu", __doc__, PARTS, title="Full tier"))
