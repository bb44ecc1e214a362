"""What `sluice load` is told, and the plan that it comes to."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from sluice.cli.load import add_arguments
from sluice.cli.load_arguments import plan_of
from sluice.domain.enums import QueryClass, Tier
from sluice.load.policy import Policy
from sluice.load.retry import RetryLaw
from sluice.runtime.config import ConfigError


def parsed(*words: str) -> argparse.Namespace:
    """The options of a command line."""
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return parser.parse_args(words)


def test_without_options_the_plan_is_a_modest_one() -> None:
    plan = plan_of(parsed(), "router:1")
    assert plan.router == "router:1"
    assert (plan.rate, plan.arrivals, plan.duration_s) == (((0.0, 100.0),), "poisson", 30.0)
    assert (plan.deadline_s, plan.hot, plan.turns, plan.face) == (1.0, 0.2, None, "stream")
    assert len(plan.texts) == 360
    assert plan.model_validate_json(plan.model_dump_json()) == plan


def test_every_option_is_in_the_plan() -> None:
    words = (
        "--rate 300,900@10 --spike 5x@20+10 --arrivals gamma:3 --duration 40 --seed 7 --conversations 5-10 --think 0"
    )
    words += (
        " --hot 0.3 --class simple=3,inferred --deadline 500 --attempt 200 --retries 3 --backoff 0 --pushback ignore"
    )
    words += " --unary --processes 2 --connections 3 --max-open 50 --minimum-tier light --policy switch:250 --tick 5"
    plan = plan_of(parsed(*words.split()), "router:1")
    assert plan.rate == ((0.0, 300.0), (10.0, 900.0), (20.0, 4500.0), (30.0, 900.0))
    assert (plan.arrivals, plan.duration_s, plan.seed, plan.turns, plan.think_s) == ("gamma:3", 40.0, 7, (5, 10), 0.0)
    assert plan.classes == {QueryClass.SIMPLE: 3.0, QueryClass.UNSPECIFIED: 1.0}
    assert (plan.deadline_s, plan.attempt_s, plan.tick_s) == (0.5, 0.2, 0.005)
    assert plan.retry == RetryLaw(retries=3, backoff_s=0.0, respect=False)
    assert (plan.face, plan.processes, plan.connections, plan.max_open) == ("unary", 2, 3, 50)
    assert (plan.minimum_tier, plan.policy) == (Tier.LIGHT, Policy(kind="switch", above_ms=250.0))
    assert plan.model_validate_json(plan.model_dump_json()) == plan


def test_a_trace_says_how_long_it_is(tmp_path: Path) -> None:
    trace = tmp_path / "trace.jsonl"
    trace.write_text('{"at_s": 12.5}\n{"at_s": 3}\n')
    plan = plan_of(parsed("--trace", str(trace)), "router:1")
    assert 12.5 < plan.duration_s < 13
    assert plan.trace == trace
    assert plan_of(parsed("--trace", str(trace), "--duration", "5"), "router:1").duration_s == 5


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ("--rate fast", "'fast' is no rate; write R"),
        ("--spike 5", "'5' is no spike; write Fx@T+D"),
        ("--arrivals bursty", "'bursty' is no arrival process; there are poisson"),
        ("--conversations 10-5", "the first number is the smaller one"),
        ("--conversations none", "none is no whole number above 0"),
        ("--class rude", "'rude' is no class; there are simple, complex, real_time, inferred"),
        ("--class simple=0", "0 is no number of seconds above 0"),
        ("--policy switch", "'switch' is no policy; there are mesh, full, light and switch:MS"),
        ("--policy full:3", "'full:3' is no policy"),
        ("--deadline 0", "0 is no number of milliseconds above 0"),
        ("--think -1", "-1 is no number of seconds from 0 on"),
        ("--retries 99", "invalid choice"),
        ("--hot 2", "2 does not lie between 0 and 1"),
    ],
)
def test_what_cannot_be_meant_is_refused_in_words(
    words: str, complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        parsed(*words.split())
    assert complaint in capsys.readouterr().err


def test_texts_that_cannot_be_read_are_named() -> None:
    with pytest.raises(ConfigError, match="--texts: cannot read nowhere"):
        plan_of(parsed("--texts", "nowhere"), "router:1")
