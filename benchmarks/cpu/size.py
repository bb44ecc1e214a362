"""How large the weights of the demo's models are on disk, by precision."""

from __future__ import annotations

import math
from pathlib import Path

from safetensors import safe_open

from benchmarks.cpu.bench import Bench
from benchmarks.cpu.quality import LIGHT, QUANTIZED
from benchmarks.figure import Figure, Target
from sluice.compression.package import unpack
from sluice.engine.checkpoint.weights import weight_files

INT8_TARGET, INT4_TARGET = Target(0.30, at_most=True), Target(0.20, at_most=True)
SUFFIXES = frozenset({".bin", ".data", ".onnx", ".pt", ".safetensors"})
FP32_BYTES = 4
HOW = (
    "bytes of the weight files alone, int{bits} as a part of fp32; fp32: four bytes a weight, whatever the demo's "
    "checkpoints are stored in; {origin}"
)
PACKED = "int{bits}: those in the packed file that sluice quantize makes"
SHIPPED = "int{bits}: those that the checkpoint ships beside its fp32 weights"


async def measure_int8(bench: Bench) -> list[Figure]:
    """A figure for the light model, quantized here, and one for the quantized model as it is shipped."""
    return [await _packed(bench, bits=8, target=INT8_TARGET), _figure(QUANTIZED, QUANTIZED, 8, INT8_TARGET, SHIPPED)]


async def measure_int4(bench: Bench) -> list[Figure]:
    """The figure of the light model."""
    return [await _packed(bench, bits=4, target=INT4_TARGET)]


async def _packed(bench: Bench, *, bits: int, target: Target) -> Figure:
    package = await bench.quantized(LIGHT, bits=bits)
    directory = unpack(package, bench.scratch / "unpacked")
    return _figure(LIGHT, directory, bits, target, PACKED)


def _figure(plain: Path, quantized: Path, bits: int, target: Target, origin: str) -> Figure:
    before, after = fp32_bytes(plain), weights_bytes(quantized)
    return Figure(
        what=f"size int{bits} / fp32, {plain.name}",
        target=target,
        measured=after / before,
        how=HOW.format(bits=bits, origin=origin.format(bits=bits)),
        medians={f"int{bits}_bytes": after, "fp32_bytes": before},
        notes={"stored_bytes": sum(file.stat().st_size for file in weight_files(plain))},
    )


def fp32_bytes(checkpoint: Path) -> int:
    """What a checkpoint's weights take at four bytes each; they may be stored in half precision."""
    total = 0
    for file in weight_files(checkpoint):
        with safe_open(file, framework="pt") as opened:
            total += sum(FP32_BYTES * math.prod(opened.get_slice(key).get_shape()) for key in opened.keys())  # noqa: SIM118
    return total


def weights_bytes(directory: Path) -> int:
    """Bytes of all weights in a directory but those that plain transformers reads.

    Raises FileNotFoundError when there are no others.
    """
    plain = set(weight_files(directory))
    files = [file for file in directory.rglob("*") if file.suffix in SUFFIXES and file not in plain]
    if not files:
        raise FileNotFoundError(f"{directory} holds no weights but those in fp32")
    return sum(file.stat().st_size for file in files)
