"""What a watcher is told of the past."""

from __future__ import annotations

from datetime import UTC, datetime

from services.governor.journal import TransitionLog
from sluice.control.degradation.signals import UNKNOWN
from sluice.control.directive import Directive
from sluice.control.fleet import Transition


def transition(revision: int) -> Transition:
    at = datetime(2026, 1, 1, tzinfo=UTC)
    return Transition(at=at, before=(), directive=Directive(epoch=1, revision=revision), signals=UNKNOWN)


def revisions(transitions: list[Transition]) -> list[int]:
    return [one.directive.revision for one in transitions]


def test_the_newest_come_last_and_the_oldest_are_forgotten() -> None:
    history = TransitionLog(map(transition, range(3)), most=5)
    for revision in range(3, 8):
        history.add(transition(revision))
    assert revisions(history.last(100)) == [3, 4, 5, 6, 7]
    assert revisions(history.last(2)) == [6, 7]
    assert history.last(0) == []


def test_a_reader_gets_what_it_has_not_seen_and_what_is_left_of_it() -> None:
    history = TransitionLog(most=3)
    seen = history.recorded
    assert history.since(seen) == []
    for revision in range(5):
        history.add(transition(revision))
    assert revisions(history.since(seen)) == [2, 3, 4]
    assert revisions(history.since(seen + 4)) == [4]
    assert history.since(history.recorded) == []
