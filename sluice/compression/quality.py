"""How right a model's answers are: by the right labels, or by how near its vectors stay to those of the original."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sluice.worker.execution.backend import Classification, Embedding, Output

_ROWS = 512
_TINY = 1e-12


@dataclass(frozen=True, slots=True, kw_only=True)
class Quality:
    """Shares from 0 to 1, the best; each None where it does not apply.

    `accuracy`: the share of texts with the right label. `cosine` and `least_cosine`: the mean over the texts, and the
    worst text, of the cosine between the vector and the original's. `same_neighbour`: the share of texts whose nearest
    other text, by cosine, is the one that it was. Untrained or narrow models give all texts similar vectors, so that a
    cosine near one says little by itself; neighbours say whether a search would find the same.
    """

    accuracy: float | None = None
    cosine: float | None = None
    least_cosine: float | None = None
    same_neighbour: float | None = None

    @property
    def measure(self) -> str:
        """The name of the one value that stands for all, or "" where nothing was measured."""
        return "accuracy" if self.accuracy is not None else "cosine" if self.cosine is not None else ""

    @property
    def value(self) -> float:
        """That value, as a share from 0 to 1."""
        return max(0.0, self.accuracy or self.cosine or 0.0)


def rightness(outputs: Sequence[Output], labels: Sequence[str]) -> Quality:
    """The share of `outputs` with the right label; one that is no label is wrong."""
    right = [isinstance(one, Classification) and one.label == label for one, label in zip(outputs, labels, strict=True)]
    return Quality(accuracy=sum(right) / len(right))


def likeness(outputs: Sequence[Output], original: Sequence[Output]) -> Quality:
    """How near the vectors in `outputs` are to those of the `original`; one that is no vector is at right angles."""
    wanted = _unit(original)
    given = _unit(outputs, width=wanted.shape[1])
    cosines = np.einsum("tw,tw->t", wanted, given)
    neighbours = None
    if len(wanted) > 1:
        same = [one == other for one, other in zip(_nearest(wanted), _nearest(given), strict=True)]
        neighbours = sum(same) / len(same)
    return Quality(cosine=float(cosines.mean()), least_cosine=float(cosines.min()), same_neighbour=neighbours)


def _unit(outputs: Sequence[Output], *, width: int | None = None) -> NDArray[np.float64]:
    """The vectors at length one, (texts, width); noughts for what is no vector."""
    known = [one.values for one in outputs if isinstance(one, Embedding)]
    nothing = (0.0,) * (width or len(known[0]))
    rows = np.array([one.values if isinstance(one, Embedding) else nothing for one in outputs])
    scaled: NDArray[np.float64] = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), _TINY)
    return scaled


def _nearest(vectors: NDArray[np.float64]) -> Iterator[int]:
    """For each text the place of the nearest other one."""
    for start in range(0, len(vectors), _ROWS):
        cosines = vectors[start : start + _ROWS] @ vectors.T
        own = np.arange(len(cosines))
        cosines[own, start + own] = -np.inf
        yield from cosines.argmax(axis=1).tolist()
