"""A worker's settings: which models may give way at level 2 and to what, and how they are named when they are wrong."""

from __future__ import annotations

from typing import Any

import pytest

from sluice.runtime.config import ConfigError, load
from sluice.worker.config import WorkerConfig


def configured(*models: dict[str, str], **more: Any) -> WorkerConfig:
    return load("gpu_worker", WorkerConfig, file={"gpu_worker": {"models": list(models), **more}}, environ={})


def entry(tier: str = "full", **more: str) -> dict[str, str]:
    return {"model": "m", "tier": tier, "checkpoint": "identity", **more}


def test_a_full_model_may_have_a_distilled_copy() -> None:
    (model,) = configured(entry(distilled="copy")).models
    assert model.distilled == "copy"
    configured(entry(distilled="copy"), entry("light", model="other"), entry("quantized"))


def test_a_full_model_may_have_a_lower_precision() -> None:
    (model,) = configured(entry(lower_precision="fp8", distilled="copy")).models
    assert model.lower_precision == "fp8"


@pytest.mark.parametrize("lower", ["fp32", "int5"])
def test_what_is_no_lower_precision_is_refused(lower: str) -> None:
    with pytest.raises(ConfigError, match=r"models\.0\.lower_precision: .*'mixed', 'fp8' or 'int4'"):
        configured(entry(lower_precision=lower))


@pytest.mark.parametrize("what", [{"distilled": "copy"}, {"lower_precision": "fp8"}], ids=str)
@pytest.mark.parametrize("tier", ["light", "quantized"])
def test_no_other_tier_has_one(tier: str, what: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match="only a model of tier full gives way to something at level 2"):
        configured(entry(tier, **what))


def test_a_copy_and_a_light_entry_of_one_model_would_be_the_same_variant() -> None:
    with pytest.raises(ConfigError, match="'m' has a copy in `distilled` and an entry of tier light"):
        configured(entry(distilled="copy"), entry("light"))


@pytest.mark.parametrize(
    ("key", "value"),
    [("distilled_budget", -0.1), ("distilled_budget", 1.1), ("memory_ceiling", 0), ("memory_ceiling", float("nan"))],
)
def test_shares_of_memory_are_shares(key: str, value: float) -> None:
    with pytest.raises(ConfigError, match=key):
        configured(**{key: value})
