"""Text generation against its targets: python -m benchmarks.writing [--only PART ...] [--smoke]

A GPU worker serves a model of the shape of DeepSeek-R1-Distill-Qwen-1.5B with random weights, in bf16. First its
engine writes by itself: one text, 512 at once, a mix with very long ones, and as many as there will be streams. Then
callers in processes of their own keep 2,100 streams open through routers. The part `pages` is the attention alone.
Prints a table and writes benchmarks/results/writing.json.
"""

from __future__ import annotations

from benchmarks.gpu.bench import Part
from benchmarks.gpu.program import run
from benchmarks.writing import pages, trial

PARTS: dict[str, Part] = {"pages": pages.measure, "writing": trial.measure}

if __name__ == "__main__":
    raise SystemExit(run("writing", __doc__, PARTS, title="Text generation"))
