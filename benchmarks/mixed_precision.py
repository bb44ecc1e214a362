"""A ResNet-152 learns, in fp32 and mixed: python -m benchmarks.mixed_precision [--only PART ...] [--smoke]

The network is transformers' own. fp32 is true fp32, with TF32 off for products and convolutions; TF32 is shown beside
it. Mixed is what tools/train_demo_models.py and tools/distill.py compute in on the same device: weights in fp32,
autocast to bf16 (or to fp16 with scaled gradients where there is no bf16), here in channels_last. Speed and memory are
taken on random images, the loss of accuracy on scikit-learn's digits. Prints a table and adds the parts that were
measured to benchmarks/results/mixed_precision.json.
"""

from __future__ import annotations

from benchmarks.gpu.bench import Part
from benchmarks.gpu.program import run
from benchmarks.resnet import digits, step

PARTS: dict[str, Part] = {"step": step.measure, "digits": digits.measure}

if __name__ == "__main__":
    raise SystemExit(run("mixed_precision", __doc__, PARTS, title="ResNet-152, training"))
