"""The demo's table and summary, from outcomes written by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from sluice.cli.demo_report import Record, busy_note, percentile, problems, summary, table
from sluice.cli.demo_requests import Example, read_examples
from sluice.client.answer import Answer
from sluice.client.query import Query
from sluice.domain.enums import QueryClass, Tier
from sluice.domain.errors import Expired, InvalidRequest, Saturated, SluiceError
from sluice.runtime.config import ConfigError

TRACE = "0123456789abcdef0123456789abcdef"


def answer(label: str, tier: Tier, **changes: Any) -> Answer:
    fields: dict[str, Any] = {
        "label": label,
        "score": 1.0,
        "scores": (),
        "embedding": (),
        "model": "support-intent",
        "variant": f"support-intent/{tier.label}-fp32",
        "tier": tier,
        "precision": "fp32",
        "worker": "cpu_worker@127.0.0.1:50062",
        "levels": (),
        "degraded_from": Tier.UNSPECIFIED,
        "queue_ms": 1.0,
        "batch_ms": 2.0,
        "compute_ms": 3.0,
        "trace_id": TRACE,
        "request_id": "demo-1",
    }
    return Answer(**{**fields, **changes})


def records(*outcomes: Any, text: str = "where is it?", label: str = "a") -> list[Record]:
    example = Example(query=Query(text=text), label=label)
    return [Record(example=example, place=place, outcome=outcome) for place, outcome in enumerate(outcomes)]


def shown(renderable: Any, width: int = 170) -> list[str]:
    console = Console(width=width, color_system=None, highlight=False)
    with console.capture() as capture:
        console.print(renderable)
    return [line.rstrip() for line in capture.get().splitlines()]


def test_a_row_says_who_answered_how_long_it_took_and_where_to_look_it_up() -> None:
    _, row = shown(table(records(answer("a", Tier.LIGHT)), width=170))
    assert row.split() == [
        "1",
        "where",
        "is",
        "it?",
        "a",
        "✓",
        "light",
        "light-fp32",
        "cpu_worker",
        "1.0",
        "3.0",
        TRACE,
    ]


def test_a_wrong_answer_and_a_refusal_are_marked() -> None:
    _, wrong, refused = shown(table(records(answer("b", Tier.FULL), Saturated("full up")), width=170))
    assert " b " in wrong
    assert "✗" in wrong
    assert "rejected-saturated" in refused
    assert "✗" in refused


@pytest.mark.parametrize("text", ["[/] [red]markup[/red]", "line\none\ttab", "很长的中文" * 30, "🎁" * 60])
def test_any_text_takes_one_line_and_changes_no_column(text: str) -> None:
    from rich.cells import cell_len

    rows = shown(table(records(answer("a", Tier.LIGHT), text=text), width=170))
    assert len(rows) == 2
    assert cell_len(rows[1]) <= 170
    assert rows[1].endswith(TRACE)
    assert text[:3].strip() in rows[1]


def test_on_a_narrow_terminal_texts_yield_first_and_then_trace_ids() -> None:
    longest = records(answer("a", Tier.LIGHT), text="x" * 200)
    _, wide = shown(table(longest, width=130), width=130)
    _, narrow = shown(table(longest, width=96), width=96)
    assert TRACE in wide
    assert "x" * 17 in wide
    assert TRACE not in narrow
    assert "light-fp32  cpu_worker" in narrow
    assert TRACE[:8] in narrow


def test_the_summary_counts_by_tier_and_names_what_was_wrong() -> None:
    outcomes = [answer("a", Tier.FULL), answer("b", Tier.FULL), answer("a", Tier.LIGHT), Saturated("full up")]
    lines = shown(summary(records(*outcomes), took_s=2.0))
    assert "4 requests in 2.0 s, 2 per second" in lines
    rows = {
        line.split()[0]: line.replace("━", "").split()[1:]
        for line in lines
        if line[:4] in {"full", "ligh", "quan", "all "}
    }
    assert rows == {
        "full": ["2", "50.0%", "6.0", "6.0"],
        "light": ["1", "100.0%", "6.0", "6.0"],
        "quantized": ["0"],
        "all": ["4", "50.0%", "6.0", "6.0"],
    }
    assert "✗ #2 wants a, got b" in lines
    assert "✗ #4 wants a, got rejected-saturated: full up" in lines


def test_many_mistakes_are_cut_short() -> None:
    lines = shown(summary(records(*[answer("b", Tier.FULL)] * 20), took_s=1.0))
    assert sum(line.startswith("✗") for line in lines) == 8
    assert lines[-1] == "  and 12 more"


def test_a_demo_fails_for_unanswered_requests_wrong_answers_and_idle_tiers() -> None:
    made = records(answer("a", Tier.FULL), answer("b", Tier.LIGHT), Saturated("full up"))
    assert problems([record.example for record in made], made) == [
        "1 of 3 requests were not answered",
        "the accuracy is 33.3%, and 90% was expected",
        "tier quantized answered nothing",
    ]
    good = records(*(answer("a", tier) for tier in (Tier.FULL, Tier.LIGHT, Tier.QUANTIZED)))
    assert problems([record.example for record in good], good) == []


@pytest.mark.parametrize("error", [Saturated("full up"), Expired("too late")])
def test_a_busy_machine_is_named_where_requests_had_no_time_and_only_there(error: SluiceError) -> None:
    made = records(answer("a", Tier.FULL), error, error)
    note = busy_note(made, load=11.2, cores=2)
    assert "its load is 11 on 2 cores" in note
    assert "2 of them" in note
    assert busy_note(made, load=3.9, cores=2) == ""
    assert busy_note(records(answer("a", Tier.FULL), InvalidRequest("too long")), load=11.2, cores=2) == ""


def test_percentiles_are_values_that_were_measured() -> None:
    values = [5.0, 1.0, 4.0, 2.0, 3.0]
    assert [percentile(values, share) for share in (0.0, 0.5, 0.99, 1.0)] == [1.0, 3.0, 5.0, 5.0]
    assert percentile([7.0], 0.5) == 7.0


def read(tmp_path: Path, *lines: str) -> list[Example]:
    file = tmp_path / "requests.jsonl"
    file.write_text("\n".join(lines), encoding="utf-8")
    return read_examples(file)


def test_a_request_needs_a_text_and_a_label_and_may_have_more(tmp_path: Path) -> None:
    whole = '{"text": "t", "label": "l", "query_class": "real_time", "priority": 0.9, "timeout_ms": 1500, "other": 1}'
    short, full = read(tmp_path, '{"text": "t", "label": "l"}', "", whole)
    assert (short.query, short.label) == (Query(text="t", request_id="demo-1"), "l")
    assert (full.query.query_class, full.query.priority, full.query.timeout_s) == (QueryClass.REAL_TIME, 0.9, 1.5)
    assert full.query.request_id == "demo-3"


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("[]", "is no JSON object"),
        ("5", "is no JSON object"),
        ('{"text": 5, "label": "l"}', "'text' is missing, or no text"),
        ('{"text": "t", "label": "l", "query_class": "rude"}', "query_class is 'rude', and must be one of simple"),
        ('{"text": "t", "label": "l", "query_class": []}', "unhashable"),
        ('{"text": "t", "label": "l", "priority": "high"}', "priority is 'high', and must be a number"),
        ('{"text": "t", "label": "l", "timeout_ms": true}', "timeout_ms is True, and must be a number"),
    ],
)
def test_a_line_that_cannot_be_read_is_named(tmp_path: Path, line: str, complaint: str) -> None:
    with pytest.raises(ConfigError, match=f"requests.jsonl, line 2: {complaint}"):
        read(tmp_path, '{"text": "t", "label": "l"}', line)
