"""The schedule: what is asked when, the same for however many processes."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as some

from sluice.domain.enums import QueryClass
from sluice.load.mix import THRESHOLD, Mix
from sluice.load.schedule import arrivals
from sluice.load.text import Text, read_texts
from sluice.load.trace import read_trace, write_trace
from sluice.runtime.config import ConfigError
from tests.unit.load.scenes import TEXTS, plan


@given(some.integers(0, 1_000), some.integers(1, 5))
def test_the_parts_are_the_run_whatever_their_number(seed: int, parts: int) -> None:
    one = plan(duration_s=1.0, seed=seed, turns=(5, 10))
    whole = list(arrivals(one))
    split = [arrival for part in range(parts) for arrival in arrivals(one, part=part, parts=parts)]
    assert sorted(split, key=lambda arrival: arrival.number) == whole


def test_conversations_arrive_as_often_as_makes_the_rate_of_their_turns() -> None:
    found = list(arrivals(plan(duration_s=60.0, turns=(5, 10))))
    assert {one.turns for one in found} == set(range(5, 11))
    assert sum(one.turns for one in found) == pytest.approx(60 * 200, rel=0.1)


@pytest.mark.parametrize("share", [0.0, 0.2, 1.0])
def test_a_share_is_hot_and_priorities_say_so(share: float) -> None:
    asks = [Mix(TEXTS, hot=share, classes={}, seed=7).ask(number) for number in range(4_000)]
    assert sum(one.hot for one in asks) / len(asks) == pytest.approx(share, abs=0.03)
    assert all((one.priority >= THRESHOLD) == one.hot and 0 <= one.priority <= 1 for one in asks)
    assert len({one.priority for one in asks}) >= 8


def test_classes_come_by_weight_with_texts_of_their_own_where_there_are_any() -> None:
    texts = [Text(text="a", query_class="simple"), Text(text="b", query_class="complex"), Text(text="c")]
    weights = {QueryClass.SIMPLE: 1.0, QueryClass.COMPLEX: 2.0, QueryClass.REAL_TIME: 1.0}
    asks = [Mix(texts, hot=0.2, classes=weights, seed=1).ask(number) for number in range(4_000)]
    for query_class, weight in weights.items():
        of = [one for one in asks if one.query_class is query_class]
        assert len(of) / len(asks) == pytest.approx(weight / 4, abs=0.03)
        own = {QueryClass.SIMPLE: {"a"}, QueryClass.COMPLEX: {"b"}}.get(query_class, {"a", "b", "c"})
        assert {one.text.text for one in of} == own


def test_without_weights_each_text_goes_out_with_its_own_class_and_without_a_class_if_that_is_wished() -> None:
    texts = [Text(text="a", query_class="simple"), Text(text="b", query_class="complex")]
    own = {one.query_class for one in (Mix(texts, hot=0, classes={}, seed=1).ask(n) for n in range(50))}
    assert own == {QueryClass.SIMPLE, QueryClass.COMPLEX}
    none = Mix(texts, hot=0, classes={QueryClass.UNSPECIFIED: 1.0}, seed=1)
    assert {none.ask(number).query_class for number in range(50)} == {QueryClass.UNSPECIFIED}


@given(some.integers(0, 10_000))
def test_all_turns_of_a_conversation_are_hot_or_none(number: int) -> None:
    mix = Mix(TEXTS, hot=0.5, classes={}, seed=3)
    assert len({mix.ask(number, turn).hot for turn in range(10)}) == 1


def test_without_a_text_there_is_nothing_to_send() -> None:
    with pytest.raises(ValueError, match="no text to send"):
        Mix([], hot=0.2, classes={}, seed=1)


def test_a_recorded_schedule_is_replayed_as_it_was(tmp_path: Path) -> None:
    one = plan(duration_s=1.0, seed=5)
    trace = tmp_path / "trace.jsonl"
    write_trace(trace, ((arrival.at_s, arrival.ask) for arrival in arrivals(one)))
    replayed = list(arrivals(one.model_copy(update={"trace": trace, "seed": 99})))
    for arrival, again in zip(arrivals(one), replayed, strict=True):
        assert again.at_s == pytest.approx(arrival.at_s, abs=1e-6)
        assert (again.ask.text.text, again.ask.hot) == (arrival.ask.text.text, arrival.ask.hot)
        assert again.ask.priority == pytest.approx(arrival.ask.priority, abs=1e-6)


def test_a_trace_may_say_no_more_than_when(tmp_path: Path) -> None:
    trace = tmp_path / "trace.csv"
    trace.write_text("at_s,query_class,other\n0.5,complex,x\n\n0.25,,y\n7,,\n")
    found = list(arrivals(plan(duration_s=1.0, trace=trace)))
    assert [one.at_s for one in found] == [0.25, 0.5]
    assert found[1].ask.query_class is QueryClass.COMPLEX
    assert {one.ask.text for one in found} <= set(TEXTS)


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("{", "row 2: "),
        ("[]", "row 2: it: "),
        ("{}", "row 2: at_s: "),
        ('{"at_s": -1}', "row 2: at_s: "),
        ('{"at_s": NaN}', "row 2: at_s: "),
        ('{"at_s": 1, "priority": 2}', "row 2: priority: "),
        ('{"at_s": 1, "query_class": "rude"}', "row 2: query_class: .*must be one of simple, complex, real_time"),
        ('{"at_s": 1, "text": ""}', "row 2: text: "),
    ],
)
def test_a_bad_trace_is_refused_by_option_file_and_row(tmp_path: Path, line: str, complaint: str) -> None:
    trace = tmp_path / "trace.jsonl"
    trace.write_text(f'{{"at_s": 0}}\n{line}\n')
    with pytest.raises(ConfigError, match=f"--trace: .*trace.jsonl, {complaint}"):
        read_trace(trace)


@pytest.mark.parametrize(("content", "complaint"), [(None, "cannot read"), ("", "is empty"), ("\n\n", "is empty")])
def test_texts_that_are_not_there_are_named(tmp_path: Path, content: str | None, complaint: str) -> None:
    file = tmp_path / "texts.jsonl"
    if content is not None:
        file.write_text(content)
    with pytest.raises(ConfigError, match=f"--texts: .*{complaint}"):
        read_texts(file)
