"""What fp32 means: true fp32, or TF32, which rounds what is multiplied to ten bits of mantissa; and proof of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch.nn import functional


@contextmanager
def fp32_products(kind: str) -> Iterator[None]:
    """Within, matrices and convolutions in fp32 are multiplied as `kind`: "ieee" or "tf32"."""
    former = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    torch.set_float32_matmul_precision("high" if kind == "tf32" else "highest")
    torch.backends.cudnn.allow_tf32 = kind == "tf32"
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(former[0])
        torch.backends.cudnn.allow_tf32 = former[1]


@contextmanager
def kernels_by_trial() -> Iterator[None]:
    """Within, convolutions try their kernels once for each shape, and take the fastest."""
    former = torch.backends.cudnn.benchmark
    torch.backends.cudnn.benchmark = True
    try:
        yield
    finally:
        torch.backends.cudnn.benchmark = former


def rounding_errors(device: torch.device) -> dict[str, float]:
    """The greatest error of a product and of a convolution in fp32, as a part of the greatest value, by kind.

    True fp32 is off by about 1e-6, TF32 by about 1e-3, where the device has it.
    """
    left, right = (torch.randn(512, 512, device=device) for _ in range(2))
    images, kernels = torch.randn(4, 64, 32, 32, device=device), torch.randn(64, 64, 3, 3, device=device)
    errors = {}
    for kind in ("ieee", "tf32"):
        with fp32_products(kind):
            product, convolution = left @ right, functional.conv2d(images, kernels, padding=1)
        errors[f"{kind}_product"] = _error(product.cpu(), left.cpu().double() @ right.cpu().double())
        exact = functional.conv2d(images.cpu().double(), kernels.cpu().double(), padding=1)
        errors[f"{kind}_convolution"] = _error(convolution.cpu(), exact)
    return errors


def _error(value: torch.Tensor, exact: torch.Tensor) -> float:
    return float((value.double() - exact).abs().max() / exact.abs().max())
