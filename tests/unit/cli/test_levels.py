"""What `sluice levels` shows of a change."""

from __future__ import annotations

import io
import json
from datetime import UTC, datetime

from hypothesis import given
from rich.console import Console

from sluice.cli.levels import as_json, picture
from sluice.control.degradation.signals import UNKNOWN, Signals
from sluice.control.directive import Directive
from sluice.control.fleet import Transition
from sluice.domain.enums import Level
from tests.unit import strategies as some

CHANGE = Transition(
    at=datetime(2026, 1, 1, 12, tzinfo=UTC),
    before=(),
    directive=Directive(epoch=7, revision=3, levels=(Level.OFFLOAD,), offload_share=0.3, reason="utilization [0.93]"),
    signals=Signals(utilization=0.93, memory=0.5, queue_delay_s=0.125),
)


def printed(*transitions: Transition) -> str:
    console = Console(file=io.StringIO(), width=200)
    console.print(picture(transitions))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_a_change_is_a_row_with_its_reason_and_the_signals_that_were_known() -> None:
    text = printed(CHANGE)
    for part in ("full service", "offload", "utilization [0.93]", "busy 93%, memory 50%, queue 125 ms"):
        assert part in text
    assert "missed" not in text


def test_where_nothing_was_known_that_is_said() -> None:
    unknown = Transition(at=CHANGE.at, before=(Level.ADMIT,), directive=CHANGE.directive, signals=UNKNOWN)
    assert "none were known" in printed(unknown)


def test_as_json_what_was_unknown_is_null() -> None:
    line = json.loads(as_json(CHANGE))
    assert (line["before"], line["after"], line["offload_share"]) == ([], ["offload"], 0.3)
    assert (line["epoch"], line["revision"], line["at"]) == (7, 3, "2026-01-01T12:00:00+00:00")
    assert (line["signals"]["utilization"], line["signals"]["refused_ratio"]) == (0.93, None)
    assert "alone" not in line["signals"]


@given(some.transitions)
def test_every_change_can_be_shown_and_is_one_line_of_json(transition: Transition) -> None:
    assert printed(transition)
    assert "\n" not in as_json(transition)
    assert json.loads(as_json(transition))["reason"] == transition.directive.reason
