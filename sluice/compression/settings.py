"""What a compression is asked to do, refused before any work when it cannot be meant."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sluice.domain.errors import InvalidRequest

BITS = (8, 4)
METHODS = ("symmetric", "asymmetric")
RANGES = ("minmax", "percentile")
USUAL_RANGES = "minmax"
BLOCK_SIZES = (16, 32, 64, 128, 256)
"""Weights that share a scale at 4 bits; ONNX Runtime's kernels know powers of two from 16 on."""
USUAL_BLOCK_SIZE = 32
PACKED_SUFFIX = ".pt"
"""How the name of a checkpoint in a single file ends."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """`prune` is the fraction of heads and feed-forward neurons to remove; files that are None are not wanted.

    `calibration` makes activation ranges static, and `ranges` says how they are found; `block_size` belongs to 4 bits;
    either is None where the usual value will do. `evaluate` holds texts, with labels if the model has some.
    """

    source: Path
    output: Path
    bits: int = 8
    method: str = "symmetric"
    block_size: int | None = None
    calibration: Path | None = None
    ranges: str | None = None
    prune: float = 0.0
    evaluate: Path | None = None
    allow_pickle: bool = False
    force: bool = False

    def __post_init__(self) -> None:
        """Raises InvalidRequest; its field is the setting's name."""
        _one_of("bits", self.bits, BITS)
        _one_of("method", self.method, METHODS)
        _one_of("ranges", self.ranges, (None, *RANGES))
        _one_of("block_size", self.block_size, (None, *BLOCK_SIZES))
        if not 0 <= self.prune < 1:
            raise InvalidRequest(f"{self.prune:g} is no fraction from 0 to below 1", field="prune")
        if self.calibration is not None and self.bits == 4:
            problem = "4 bits quantize weights only, so that there are no activation ranges to calibrate"
            raise InvalidRequest(problem, field="calibration")
        if self.ranges is not None and self.calibration is None:
            raise InvalidRequest("without calibration, each batch has the ranges of its own values", field="ranges")
        if self.block_size is not None and self.bits != 4:
            raise InvalidRequest(f"at {self.bits} bits, weights share a scale by output channel", field="block_size")

    @property
    def symmetric(self) -> bool:
        """Whether zero is represented by zero, without a zero point."""
        return self.method == "symmetric"

    @property
    def packed(self) -> bool:
        """Whether the output is one file."""
        return self.output.suffix == PACKED_SUFFIX

    @property
    def precision(self) -> str:
        """The result's name for its precision: int8 or int4."""
        return f"int{self.bits}"


def _one_of(name: str, value: object, known: tuple[object, ...]) -> None:
    if value not in known:
        named = ", ".join(str(one) for one in known if one is not None)
        raise InvalidRequest(f"{value} is none of {named}", field=name)
