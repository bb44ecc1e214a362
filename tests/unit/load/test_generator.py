"""The generator: each offered request ends once, at its own time, whatever the mesh does."""

from __future__ import annotations

import asyncio

import pytest

from sluice.domain.enums import Tier
from sluice.load.generator import GRACE_S
from sluice.load.kind import Kind
from sluice.load.retry import Failure, RetryLaw
from tests.unit.load.scenes import ANSWER, REFUSED, FakeLine, ended, plan, played, totals

LASTING = 30.0


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (ANSWER, Kind.OK),
        (REFUSED, Kind.REFUSED),
        (Failure(code="DEADLINE_EXCEEDED", reason="rejected-ttl-expired"), Kind.EXPIRED),
        (Failure(code="NOT_FOUND", reason="unknown-model"), Kind.FAILED),
    ],
    ids=lambda one: one if isinstance(one, Kind) else "",
)
async def test_what_the_mesh_says_is_how_a_request_ends(reply: Failure, kind: Kind) -> None:
    tally = await played(plan(deadline_s=LASTING), FakeLine(lambda place: reply))
    counts = ended(tally)
    assert counts["offered"] == counts[kind] > 0
    assert counts.get("kept", 0) == (counts["offered"] if kind is Kind.OK else 0)
    assert sum(tally.whole.group("status").values()) == counts["offered"]


async def test_a_mesh_that_says_nothing_is_given_up_and_told_so() -> None:
    line = FakeLine(lambda place: None)
    tally = await played(plan(deadline_s=0.05), line)
    counts = ended(tally)
    assert counts["offered"] == counts[Kind.SILENT] + counts.get(Kind.UNSENT, 0)
    assert len(line.cancelled) == counts[Kind.SILENT] > 0
    assert GRACE_S > 0


async def test_an_answer_behind_the_deadline_is_late() -> None:
    waiting: list[int] = []
    line = FakeLine(lambda place: None)
    one = plan(deadline_s=0.02, rate=((0.0, 10.0),), duration_s=0.11, arrivals="constant")

    put = line.put
    line.put = lambda number, attempt: (waiting.append(number), put(number, attempt))[1]  # type: ignore[method-assign]
    cancel = line.cancel

    def answer_after_all(number: int) -> None:
        cancel(number)
        assert line.sink is not None
        line.sink.answered(number, ANSWER)

    line.cancel = answer_after_all  # type: ignore[method-assign]
    counts = ended(await played(one, line))
    assert counts["offered"] == counts.get(Kind.LATE, 0) + counts.get(Kind.UNSENT, 0) == 1


async def test_what_is_beyond_the_bound_is_counted_and_not_sent() -> None:
    line = FakeLine(lambda place: None)
    counts = ended(await played(plan(deadline_s=1.0, max_open=3), line))
    assert counts[Kind.UNSENT] == counts["offered"] - 3
    assert len(line.put_attempts) == 3


async def test_a_line_that_is_down_costs_what_is_due_and_nothing_waits_for_it() -> None:
    line = FakeLine(lambda place: ANSWER)
    line.up = False
    tally = await played(plan(deadline_s=LASTING), line)
    counts = ended(tally)
    assert counts["offered"] == counts[Kind.FAILED] > 0
    assert line.put_attempts == []
    assert list(tally.whole.group("status")) == ["UNAVAILABLE broken"]


async def test_a_line_that_breaks_fails_what_is_open_on_it() -> None:
    line = FakeLine(lambda place: None)
    flush = line.flush

    def break_off() -> None:
        flush()
        assert line.sink is not None
        line.sink.broke(line, Failure(code="UNAVAILABLE", reason="broken"))

    line.flush = break_off  # type: ignore[method-assign]
    counts = ended(await played(plan(deadline_s=LASTING), line))
    assert counts["offered"] == counts[Kind.FAILED] > 0


async def test_a_retry_is_another_attempt_of_the_same_request() -> None:
    line = FakeLine(lambda place: ANSWER if place % 2 else REFUSED)
    one = plan(deadline_s=LASTING, rate=((0.0, 10.0),), duration_s=0.11, arrivals="constant", retry=RetryLaw(retries=1))
    tally = await played(one, line)
    counts = ended(tally)
    assert (counts["offered"], counts[Kind.OK]) == (1, 1)
    assert totals(tally)["sent"] == len(line.put_attempts) == 2
    assert tally.whole.histograms["refusal"].count == 1
    assert tally.whole.histograms["lag"].count == 1


async def test_no_attempt_outlives_the_deadline() -> None:
    line = FakeLine(lambda place: Failure(code="UNAVAILABLE"))
    retry = RetryLaw(retries=9, backoff_s=0.2, respect=False)
    tally = await played(plan(deadline_s=0.2, retry=retry), line)
    counts = ended(tally)
    assert counts["offered"] == sum(counts.get(kind, 0) for kind in Kind)
    assert counts.get(Kind.OK, 0) == 0


async def test_an_attempt_has_its_own_limit_within_the_deadline() -> None:
    line = FakeLine(lambda place: ANSWER)
    await played(plan(deadline_s=LASTING, attempt_s=0.5), line)
    first, last = line.put_attempts[0], line.put_attempts[-1]
    assert 0 < last.expires_at - first.expires_at < 5.0
    limits = await _limits(deadline_s=1.0), await _limits(deadline_s=1.0, attempt_s=0.5), await _limits(deadline_s=0.5)
    assert limits[0] > limits[1]
    assert limits[0] > limits[2]


async def _limits(**changes: float) -> float:
    """How far beyond the run's beginning the first attempt's limit lies."""
    line = FakeLine(lambda place: ANSWER)
    one = plan(arrivals="constant", **changes)
    begin = asyncio.get_running_loop().time()
    await played(one, line)
    return line.put_attempts[0].expires_at - begin


async def test_a_conversation_goes_on_from_answer_to_answer_and_keeps_its_name() -> None:
    line = FakeLine(lambda place: ANSWER)
    one = plan(
        deadline_s=LASTING,
        duration_s=LASTING,
        rate=((0.0, 40.0), (0.15, 0.0)),
        arrivals="constant",
        turns=(4, 4),
        think_s=0,
    )
    tally = await played(one, line)
    names = [attempt.conversation_id for attempt in line.put_attempts]
    assert ended(tally)["offered"] == len(names) == 4 * len(set(names)) > 0
    found = [name for name in tally.whole.counts if name.endswith("conversations.finished")]
    assert sum(tally.whole.counts[name] for name in found) == len(set(names))


async def test_a_conversation_is_lost_with_the_first_turn_that_fails_at_last() -> None:
    line = FakeLine(lambda place: ANSWER if place < 2 else REFUSED)
    one = plan(deadline_s=LASTING, duration_s=LASTING, rate=((0.0, 90.0), (0.15, 0.0)), turns=(9, 9), think_s=0)
    tally = await played(one.model_copy(update={"arrivals": "constant"}), line)
    counts = tally.whole.counts
    begun = sum(count for name, count in counts.items() if name.endswith("conversations.begun"))
    lost = sum(count for name, count in counts.items() if name.endswith("conversations.lost"))
    assert lost == begun > 0
    assert ended(tally)["offered"] == begun + 2


async def test_a_turn_behind_the_run_is_not_begun() -> None:
    line = FakeLine(lambda place: ANSWER)
    tally = await played(plan(deadline_s=LASTING, rate=((0.0, 80.0),), turns=(9, 9), think_s=1_000.0), line)
    counts = tally.whole.counts
    begun = sum(count for name, count in counts.items() if name.endswith("conversations.begun"))
    unfinished = sum(count for name, count in counts.items() if name.endswith("conversations.unfinished"))
    assert unfinished == begun == ended(tally)["offered"] > 0


async def test_what_is_asked_carries_the_plan_s_wishes() -> None:
    line = FakeLine(lambda place: ANSWER)
    await played(plan(deadline_s=LASTING, model="demo", minimum_tier=Tier.LIGHT, hot=1.0), line)
    for request, _, conversation_id in line.put_attempts:
        assert (request.model, request.minimum_tier, conversation_id) == ("demo", Tier.LIGHT, "")
        assert request.priority >= 0.7
