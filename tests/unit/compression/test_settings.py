"""What a compression can be asked to do is judged before any work."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sluice.compression.settings import Settings
from sluice.domain.errors import InvalidRequest


def settings(**changes: Any) -> Settings:
    return Settings(**{"source": Path("original.pt"), "output": Path("quantized.pt"), **changes})


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"bits": 3}, "3 is none of 8, 4"),
        ({"bits": 0}, "0 is none of 8, 4"),
        ({"method": "ternary"}, "ternary is none of symmetric, asymmetric"),
        ({"ranges": "entropy"}, "entropy is none of minmax, percentile"),
        ({"block_size": 33}, "33 is none of 16, 32, 64, 128, 256"),
        ({"prune": 1.5}, "1.5 is no fraction from 0 to below 1"),
        ({"prune": 1.0}, "1 is no fraction from 0 to below 1"),
        ({"prune": -0.1}, "-0.1 is no fraction from 0 to below 1"),
        ({"prune": float("nan")}, "nan is no fraction"),
        ({"bits": 4, "calibration": Path("texts")}, "4 bits quantize weights only"),
        ({"ranges": "minmax"}, "without calibration, each batch has the ranges of its own values"),
        ({"bits": 4, "ranges": "percentile"}, "without calibration"),
        ({"block_size": 32}, "at 8 bits, weights share a scale by output channel"),
        ({"bits": 8, "block_size": 16}, "at 8 bits"),
    ],
)
def test_what_cannot_be_meant_is_refused_by_name(changes: dict[str, Any], complaint: str) -> None:
    with pytest.raises(InvalidRequest, match=complaint) as caught:
        settings(**changes)
    assert caught.value.field == list(changes)[-1]


def test_what_can_be_meant_is_taken() -> None:
    assert settings(prune=0.99, block_size=128, bits=4).precision == "int4"
    assert settings(calibration=Path("texts"), ranges="percentile").precision == "int8"
    assert settings().symmetric
    assert settings().packed
    assert not settings(output=Path("quantized"), method="asymmetric").packed
