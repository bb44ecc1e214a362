"""Text generation against its targets: python -m benchmarks.writing [--only PART ...] [--smoke]

A model of the shape of DeepSeek-R1-Distill-Qwen-1.5B with random weights, in bf16. The part `pages` is the attention
of single tokens, a layer of it. In `alone` the engine writes by itself: one text, 512 at once, a mix with very long
ones, and as many as there will be streams. In `mesh` callers in processes of their own keep 2,100 streams open through
routers.
Prints a table and writes benchmarks/results/writing.json.
"""

from __future__ import annotations

from benchmarks.gpu.bench import Part
from benchmarks.gpu.program import run
from benchmarks.writing import alone, mesh, pages

PARTS: dict[str, Part] = {"pages": pages.measure, "alone": alone.measure, "mesh": mesh.measure}

if __name__ == "__main__":
    raise SystemExit(run("writing", __doc__, PARTS, title="Text generation"))
