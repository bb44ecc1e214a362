"""Text generation against its targets: python -m benchmarks.writing [--smoke]

A GPU worker serves a model of the shape of DeepSeek-R1-Distill-Qwen-1.5B with random weights, in bf16. First its
engine writes by itself: one text, 512 at once, and a mix with very long ones. Then callers in processes of their own
keep 2,100 streams open through routers. Prints a table and writes benchmarks/results/writing.json.
"""

from __future__ import annotations

from benchmarks.gpu.program import run
from benchmarks.writing import trial

if __name__ == "__main__":
    raise SystemExit(run("writing", __doc__, {"writing": trial.measure}, title="Text generation"))
