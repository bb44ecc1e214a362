"""Thresholds can be set, and not so that a level would flap."""

from __future__ import annotations

import pytest

from services.governor.config import GovernorConfig
from services.router.config import RouterConfig
from sluice.control.degradation.thresholds import DEFAULT_THRESHOLDS, Thresholds
from sluice.runtime.config import ConfigError, load


def test_the_defaults_are_the_missions() -> None:
    assert (DEFAULT_THRESHOLDS.utilization_enter, DEFAULT_THRESHOLDS.memory_enter) == (0.90, 0.85)


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"utilization_exit": 0.95}, "utilization_exit 0.95 must lie below utilization_enter 0.9"),
        ({"utilization_exit": 0.9}, "utilization_exit 0.9 must lie below utilization_enter 0.9"),
        ({"memory_exit": 0.86}, "memory_exit 0.86 must lie below memory_enter 0.85"),
        ({"memory_enter": 0.97}, "memory_enter 0.97 must lie below memory_full 0.95"),
        ({"queue_far": 0.1}, "queue_enter 0.125 must lie below queue_far 0.1"),
    ],
    ids=lambda one: next(iter(one)) if isinstance(one, dict) else "",
)
def test_an_exit_above_its_entry_is_refused_with_a_line_that_names_both(wrong: dict[str, float], why: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load("governor", GovernorConfig, file={"governor": {"thresholds": wrong}}, environ={})
    assert str(caught.value).startswith(f"governor.thresholds: {why}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("wrong", [float("nan"), float("inf"), -0.1, 1.1, "high"])
def test_a_threshold_that_is_no_ratio_is_refused_by_its_key(wrong: object) -> None:
    with pytest.raises(ConfigError, match=r"router\.thresholds\.memory_enter"):
        load("router", RouterConfig, file={"router": {"thresholds": {"memory_enter": wrong}}}, environ={})


def test_thresholds_come_from_the_environment_too() -> None:
    environ = {"SLUICE_GOVERNOR_THRESHOLDS": "{memory_enter: 0.8, memory_exit: 0.6}"}
    config = load("governor", GovernorConfig, file={}, environ=environ)
    assert config.thresholds == Thresholds(memory_enter=0.8, memory_exit=0.6)


def test_an_unknown_threshold_is_refused() -> None:
    with pytest.raises(ConfigError, match="SLUICE_GOVERNOR_THRESHOLDS: unknown key"):
        load("governor", GovernorConfig, file={}, environ={"SLUICE_GOVERNOR_THRESHOLDS": "{memroy_enter: 0.8}"})


def test_a_queue_is_measured_by_what_its_callers_can_bear() -> None:
    assert DEFAULT_THRESHOLDS.queue_target_s(None) == 0.02
    assert DEFAULT_THRESHOLDS.queue_target_s(0.01) == 0.02
    assert DEFAULT_THRESHOLDS.queue_target_s(2.0) == 0.25
