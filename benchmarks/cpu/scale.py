"""How much is measured: all that the targets speak of, or a smoke of it that says nothing but that it runs."""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.cpu.mlserver import Settings
from benchmarks.cpu.shapes import Shape


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """The size of a run. `corpus` is the part of the demo's test messages that quality is measured on."""

    name: str
    distilbert: Shape
    mobilebert: Shape
    rounds: int
    seconds: float
    """About how long one measurement takes."""
    texts: int
    """The fewest texts of one measurement, however slow the machine is."""
    padded_rounds: int
    """As `rounds`, where one of the two that are compared takes several times as long."""
    batch_sizes: tuple[int, ...]
    """Those that the raw loop's best is looked for among."""
    corpus: float
    processes: int
    """Fresh processes of each kind whose memory is read."""
    profile_seconds: float
    mlserver: tuple[Settings, ...]
    """Those that MLServer's best is looked for among."""


FULL = Scale(
    name="full",
    distilbert=Shape("distilbert-66m", "distilbert"),
    mobilebert=Shape("mobilebert-25m", "mobilebert"),
    rounds=5,
    seconds=4.0,
    texts=256,
    padded_rounds=3,
    batch_sizes=(8, 16, 32, 64, 128),
    corpus=1.0,
    processes=2,
    profile_seconds=2.0,
    mlserver=(Settings(0, 128, 0.01), Settings(0, 128, 0.1), Settings(1, 128, 0.01), Settings(1, 32, 0.01)),
)
QUICK = Scale(
    name="quick",
    distilbert=Shape("distilbert-tiny", "distilbert", {"dim": 32, "hidden_dim": 64, "n_layers": 1, "n_heads": 2}),
    mobilebert=Shape("mobilebert-tiny", "mobilebert", {"num_hidden_layers": 1, "num_feedforward_networks": 1}),
    rounds=1,
    seconds=0.2,
    texts=64,
    padded_rounds=1,
    batch_sizes=(8, 16),
    corpus=0.01,
    processes=1,
    profile_seconds=0.0,
    mlserver=(Settings(0, 128, 0.01),),
)
