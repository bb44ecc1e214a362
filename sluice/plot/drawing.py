"""A picture of one run, or of several laid over each other."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sluice.plot import panels
from sluice.plot.series import Results, bands
from sluice.runtime.config import ConfigError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LEVEL_COLOURS = {1: "#f4d35e", 2: "#ee964b", 3: "#d1495b"}
LEVEL_NAMES = {1: "1 offload", 2: "2 lighten", 3: "3 admit"}
INCHES = (11, 11)
COLOURS = 64


def require_matplotlib() -> None:
    """Raises ConfigError when the extra `plots` is not installed."""
    try:
        import matplotlib as mpl  # noqa: F401
    except ImportError as error:
        raise ConfigError("pictures need matplotlib: pip install 'sluice[plots]'") from error


def draw(runs: Sequence[tuple[str, Results]], path: Path, *, title: str = "") -> None:
    """Write a picture of `runs`, each with its name, to `path`; the name's ending says which kind of picture.

    Several runs are laid over each other; levels and signals are then the first one's. Raises ConfigError when
    matplotlib is not there or does not know the kind.
    """
    require_matplotlib()
    from matplotlib.figure import Figure

    figure = Figure(figsize=INCHES, layout="constrained")
    rates, times, signals, waiting = figure.subplots(4, 1, sharex=True, height_ratios=(3, 3, 2, 2))
    figure.suptitle(title)
    if len(runs) == 1:
        panels.rates(rates, runs[0][1])
        panels.times(times, runs[0][1])
    else:
        panels.compared_rates(rates, runs)
        panels.compared_times(times, runs)
    panels.signals(signals, runs[0][1])
    panels.waiting(waiting, runs[0][1])
    waiting.set_xlabel("seconds")
    for axes in (rates, times, signals, waiting):
        _shade(axes, runs[0][1])
        axes.grid(alpha=0.25)
        if axes.get_legend_handles_labels()[1]:
            axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), fontsize="small", frameon=False)
    try:
        figure.savefig(path, dpi=110)
    except ValueError as error:
        raise ConfigError(f"{path}: {error}") from error
    if path.suffix == ".png":
        _use_few_colours(path)


def _use_few_colours(path: Path) -> None:
    """Lines and bands need no more, and pictures that are kept beside the code are a third as large."""
    from PIL import Image

    with Image.open(path) as picture:
        few = picture.convert("RGB").quantize(COLOURS)
    few.save(path, optimize=True)


def _shade(axes: Axes, results: Results) -> None:
    named = set()
    for band in bands(results):
        label = LEVEL_NAMES.get(band.level, str(band.level)) if band.level not in named else None
        named.add(band.level)
        colour = LEVEL_COLOURS.get(band.level, "#888888")
        axes.axvspan(band.from_s, band.to_s, color=colour, alpha=0.22, linewidth=0, label=label)
