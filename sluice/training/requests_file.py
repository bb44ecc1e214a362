"""The demo's requests: test messages with class, priority and timeout each, drawn without looking at answers."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

from sluice.training.grammar import Message


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryClass:
    """How requests of one class look in the demo."""

    name: str
    share: float
    complexities: range
    timeout_ms: int


QUERY_CLASSES = (
    QueryClass(name="simple", share=0.40, complexities=range(3), timeout_ms=2000),
    QueryClass(name="complex", share=0.35, complexities=range(3, 8), timeout_ms=5000),
    QueryClass(name="real_time", share=0.25, complexities=range(4), timeout_ms=1000),
)
REQUESTS = 360
_IMPORTANT_SHARE = 0.25
_HELD_OUT_SHARE = 0.1


def draw_requests(
    seen: Sequence[Message], held_out: Sequence[Message], *, seed: int, count: int = REQUESTS
) -> list[dict[str, object]]:
    """Returns `count` requests in mixed order, no message twice; a quarter of them has a priority of 0.7 or more.

    One in ten comes from the messages with held-out phrasings. Raises ValueError when messages are too few.
    """
    rng = Random(f"{seed}/requests")  # noqa: S311 - a demo's order, no secret
    pools = (rng.sample(list(seen), len(seen)), rng.sample(list(held_out), len(held_out)))
    requests: list[dict[str, object]] = []
    for query_class in QUERY_CLASSES:
        wanted = round(count * query_class.share)
        novel = round(wanted * _HELD_OUT_SHARE)
        for pool, share in zip(pools, (wanted - novel, novel), strict=True):
            requests += [_request(message, query_class, rng) for message in _take(pool, query_class, share)]
    rng.shuffle(requests)
    return requests


def _take(pool: list[Message], query_class: QueryClass, wanted: int) -> list[Message]:
    fitting = [message for message in pool if message.complexity in query_class.complexities][:wanted]
    if len(fitting) < wanted:
        raise ValueError(f"{len(fitting)} messages fit class {query_class.name}, {wanted} are wanted; pass more")
    for message in fitting:
        pool.remove(message)
    return fitting


def write_rows(file: Path, rows: Sequence[dict[str, object]]) -> None:
    """Writes one JSON object a line; the file appears whole or not at all."""
    file.parent.mkdir(parents=True, exist_ok=True)
    beside = file.with_suffix(".partial")
    lines = (json.dumps(row, ensure_ascii=False) for row in rows)
    beside.write_text("\n".join(lines) + "\n", encoding="utf-8")
    beside.replace(file)


def _request(message: Message, query_class: QueryClass, rng: Random) -> dict[str, object]:
    important = rng.random() < _IMPORTANT_SHARE
    return {
        "text": message.text,
        "label": message.label,
        "query_class": query_class.name,
        "priority": round(rng.uniform(0.7, 1.0) if important else rng.uniform(0.0, 0.69), 2),
        "timeout_ms": query_class.timeout_ms,
        "complexity": message.complexity,
        "language": message.language,
    }
